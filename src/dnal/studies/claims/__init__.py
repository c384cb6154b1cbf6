"""What is claimed and how it is tested: a study each."""

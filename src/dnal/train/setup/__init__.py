"""What is decided and tried before the first step."""

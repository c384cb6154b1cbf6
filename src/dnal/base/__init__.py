"""What every room stands on: errors, files that are whole or not there, files of anybody, tensors as bytes."""

"""Tables: rows of numbers and categories, and a class or numbers of each."""

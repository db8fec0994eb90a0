"""What customers asked for, and the catalogue they ask from."""

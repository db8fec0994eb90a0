"""The format of moments: to the second, and the same everywhere."""

"""How much, how fast, and how long it stays so: measurements to make by hand."""

"""How moments are written: to the second, and the same way everywhere."""

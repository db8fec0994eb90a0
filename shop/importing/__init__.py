"""Orders from a file: read (`reading`), placed (`placing`), waited for (`waiting`)."""

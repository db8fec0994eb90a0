"""Orders from a file: lines (`records`, `fields`), invoices (`reading`), placed (`placing`), waited for (`waiting`)."""

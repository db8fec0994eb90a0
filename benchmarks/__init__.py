"""Benchmarks: the shop against peers and floors, in one run (`make bench`, docs/benchmarks.md)."""

"""Benchmarks: ratios of two things measured in one run, medians of several. `make bench` runs them all."""

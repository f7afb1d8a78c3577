"""Benchmarks: ratios of CPU time in one run, never asserts."""

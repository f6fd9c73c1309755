"""Timings of the parts: run as ``python -m benchmarks.<name>``."""

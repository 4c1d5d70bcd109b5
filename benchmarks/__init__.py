"""Measurements, each a ratio against a named peer in the same run. Run them as ``python -m benchmarks.NAME``."""

"""Damaged files for every decoder: `python -m tests.fuzz --minutes 10`."""

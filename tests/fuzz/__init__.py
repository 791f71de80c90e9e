"""Fuzz every decoder with damaged files: `python -m tests.fuzz --minutes 10`."""

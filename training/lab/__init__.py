"""Experiments: what was compared with what, and what came out."""

"""Judges the shared vectors: what others state about their own test data, held against this repository."""

"""Asking a host agent over HTTPS, and remembering how each host stood."""

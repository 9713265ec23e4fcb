"""Predicts PCR values from boot files (verifier side); shares no code with ``attest.boot``."""

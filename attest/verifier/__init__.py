"""The verifier: turns evidence into a result. Pure: no clock, file, socket or process (RFC 9334, 2.1)."""

"""Remote attestation (RFC 9334): boot chain, event logs, evidence, endorsements, verifier, results."""

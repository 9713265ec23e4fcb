"""The host agent: evidence and enrolment over HTTPS, for a verifier outside (docs/agent.md)."""

"""The embedded host: a process that wires the Xen model, swtpm, attestation and metering together."""

"""The policy decision: labels, STE and Chinese Wall rules, policy files. Pure: no I/O, no clock."""

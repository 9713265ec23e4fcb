"""IMA measurement lists: what a Linux kernel says it measured into PCR 10, and what a quote makes of it."""

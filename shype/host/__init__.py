"""A running host, one process: the embedded one on a model of Xen and a swtpm, or that of a real Domain-0."""

"""A real Xen, through its own libraries and tools. Pure modules read and write; ``driver`` and below act."""

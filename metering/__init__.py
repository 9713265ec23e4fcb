"""Usage records: chain, Merkle log, signed checkpoints, audit."""

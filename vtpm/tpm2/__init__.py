"""TPM 2.0 structures and arithmetic without a TPM (TPM 2.0 Library, Parts 1 and 2). Pure."""

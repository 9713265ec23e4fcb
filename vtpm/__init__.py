"""TPM 2.0, and one virtual TPM for each domain. Knows nothing of Xen.

``vtpm.tpm2`` is pure (structures, Names, policy digests); modules beside it open devices and start swtpm.
"""

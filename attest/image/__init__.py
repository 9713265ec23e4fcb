"""Makes the unified ``xen.efi`` (build side); shares no code with ``attest.boot`` and ``attest.predict``."""

"""Measures a boot as firmware and GRUB 2.06 do (host side); shares no code with ``attest.predict``."""

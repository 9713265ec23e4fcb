"""Xen's EFI config, as it is written into an image.

Source: Xen, docs/misc/efi.pandoc: lines ``KEY=VALUE`` in parts ``[NAME]``; ``default`` of ``[global]`` names
the part that boots. A part of the image is taken from its section; its name in the config is only a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attest.image.description import CommandLines

SECTION: Final = "xen"


def xencfg(lines: CommandLines, parts: Sequence[str]) -> bytes:
    """Return a config with one part, which names each of ``parts``; the command lines were checked before.

    Every part is named, so that a reader can tell an image that lost one.
    """
    arguments = f" {lines.arguments}" if lines.arguments else ""
    rows = ["[global]", f"default={SECTION}", f"[{SECTION}]", f"options={lines.options}"]
    rows += [f"{part}={part}{arguments if part == 'kernel' else ''}" for part in parts]
    return "".join(f"{row}\n" for row in rows).encode("ascii")

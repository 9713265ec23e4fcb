"""``shype image``: make a unified Xen image, and see what one boots."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from shype.cli.verb import add_verb, verbs_of
from shype.files import read_regular, replacing
from shype.report import Exit, Json, Report

if TYPE_CHECKING:
    from shype.images import Look

_BUILD = """\
HOST is a file (docs/image.md) or the name of a description that comes with shype: debian.
Puts config, dom0 kernel, ramdisk, FLASK policy and microcode into Xen's own EFI image, and
says which PCR 4 its boot gives. Refused is what would read anything from the disk, where no
register sees it. The same files give the same image.

Exit: 0 written, 2 a file is missing, 3 a broken description or file, or a config that would
read something unmeasured.

Example:
  tools/boot-files build/boot
  shype image build debian --root build/boot -o xen-unified.efi
"""

_SHOW = """\
Shows the command lines, the parts and their digests, the Authenticode digest, and what that
digest does not cover. With the machine's firmware recording also the PCR 4 of its boot.

Exit: 0 shown, 2 the file is missing, 3 no unified image, or one that would read something
from the disk.

Example:
  shype image show xen-unified.efi --recording configs/recordings/ovmf-2022.11-q35.bin
"""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the group."""
    verbs = verbs_of(parser)
    build = add_verb(verbs, "build", "make a unified Xen image from a host's parts", _BUILD, _build)
    build.add_argument("host", metavar="HOST", help="image description: a file, or the name of a packed one")
    build.add_argument(
        "--root", type=Path, metavar="DIR", help="the parts' folder, instead of the description's"
    )
    build.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="image to write")
    show = add_verb(verbs, "show", "show what a unified Xen image boots", _SHOW, _show)
    show.add_argument("image", type=Path, metavar="FILE", help="unified Xen image")
    show.add_argument("--recording", type=Path, metavar="LOG", help="event log of the machine's firmware")


def _build(args: argparse.Namespace) -> Report:
    from shype import images

    with replacing(args.output) as commit:
        found = images.build(args.host, args.root)
        commit(found.image)
    return _report(args.output, found)


def _show(args: argparse.Namespace) -> Report:
    from shype import images
    from shype.bootfiles import MAX_FILE

    recording = None if args.recording is None else read_regular(args.recording, MAX_FILE)
    return _report(args.image, images.look(read_regular(args.image, MAX_FILE), recording))


def _report(file: Path, found: Look) -> Report:
    parts = [(".config", found.config), *found.boots.parts]
    sections = [(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in parts]
    document: dict[str, Json] = {
        "file": str(file),
        "size": len(found.image),
        "sha256": hashlib.sha256(found.image).hexdigest(),
        "authenticode": {"sha256": found.authenticode.hex()},
        "pcrs": {} if found.pcr4 is None else {"sha256": {"4": found.pcr4.hex()}},
        "signed": found.signed,
        "build_id": found.build_id,
        "xen_commandline": found.boots.xen_arguments,
        "dom0_commandline": found.boots.dom0_arguments,
        "sections": [{"name": name, "size": size, "sha256": digest} for name, size, digest in sections],
        "not_covered": [{"code": each.code, "detail": each.detail} for each in found.not_covered],
    }
    pcr4 = "depends on the firmware: name a recording of it" if found.pcr4 is None else found.pcr4.hex()
    lines = [
        f"{ascii(str(file))[1:-1]}: {len(found.image)} bytes, {'signed' if found.signed else 'not signed'}",
        f"Xen    {found.boots.xen_arguments}",
        f"dom0   {found.boots.dom0_arguments}",
        f"build id {found.build_id or 'none'}",
        *(f"{name:<9} {digest} {size} bytes" for name, size, digest in sections),
        *(f"not covered: {each.detail}" for each in found.not_covered),
        f"Authenticode SHA-256 {found.authenticode.hex()}",
        f"sha256 PCR 4 {pcr4}",
    ]
    return Report(Exit.OK, document, "\n".join(lines))

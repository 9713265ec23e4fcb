"""The description of a unified image (YAML, ``shype.image/1``): which files become one ``xen.efi``.

::

    schema: shype.image/1
    root: ../boot                          # folder of the parts, default: where the description is
    xen: xen-4.17-amd64.efi                # Xen's own EFI image, not signed yet
    options: console=com1 flask=enforcing  # Xen's command line; or config: xen.cfg, all of your own
    kernel: {path: vmlinuz, arguments: console=hvc0 ro}
    ramdisk: initrd.img                    # this and the rest are optional
    xsm: xenpolicy
    ucode: microcode.bin
    firmware: {recording: ovmf.bin}        # relative to the description; for the PCR 4 that a boot gives

With ``config`` neither ``options`` nor ``arguments`` stand here: the config has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from acm import fields, yamltree
from acm.errors import PolicyFileError
from acm.yamltree import Mark, Node, flaw
from attest.errors import PositionedInputError

SCHEMA: Final = "shype.image/1"
MAX_COMMAND_LINE: Final = 1022
"""Xen keeps 1024 bytes of its own command line and of dom0's, with the NUL, and cuts what is longer without a
word. One less, so that what a boot entry appends begins before the cut: Xen obeys also what it cut from its
report."""
OPTIONAL_PARTS: Final = ("ramdisk", "xsm", "ucode")
_KEYS: Final = ("schema", "root", "xen", "options", "config", "kernel", *OPTIONAL_PARTS, "firmware")
_PATH: Final = re.compile(r"[^\x00-\x1f\x7f]{1,1024}")
_TEXT: Final = re.compile(r"[\x20-\x7e]*")


class ImageDescriptionError(PositionedInputError):
    """A description that is not well-formed."""


@dataclass(frozen=True, slots=True)
class CommandLines:
    """Xen's command line and that of the dom0 kernel."""

    options: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ImageDescription:
    """A description as it was read; no path in it has been looked at.

    ``boot`` is what the config is made of, or the path of a config. ``parts`` are names of sections without
    the dot, and paths, the kernel first. Paths are relative to ``root``, which is relative to the
    description, as ``recording`` is.
    """

    root: str
    xen: str
    boot: CommandLines | str
    parts: tuple[tuple[str, str], ...]
    recording: str | None


def load(data: bytes) -> ImageDescription:
    """Read a description of at most 4 MiB; raises ``ImageDescriptionError`` with code, line and column."""
    try:
        return _description(yamltree.read(data, "image description"))
    except PolicyFileError as error:
        raise ImageDescriptionError(error.code, str(error), line=error.line, column=error.column) from None


def _description(root: Node) -> ImageDescription:
    top = fields.fields(root, _KEYS)
    if fields.text(fields.required(top, "schema", root.at)) != SCHEMA:
        raise flaw("schema", f"schema must be {SCHEMA}", top["schema"].at)
    kernel_node = fields.required(top, "kernel", root.at)
    kernel = fields.fields(kernel_node, ("path", "arguments"))
    parts = [("kernel", _path(kernel, "path", kernel_node.at))]
    parts += [(name, _path(top, name, root.at)) for name in OPTIONAL_PARTS if name in top]
    return ImageDescription(
        root=_path(top, "root", root.at) if "root" in top else ".",
        xen=_path(top, "xen", root.at),
        boot=_config(top, kernel) if "config" in top else _command_lines(top, kernel, root.at),
        parts=tuple(parts),
        recording=_recording(top["firmware"]) if "firmware" in top else None,
    )


def _config(top: Mapping[str, Node], kernel: Mapping[str, Node]) -> str:
    for other in (top.get("options"), kernel.get("arguments")):
        if other is not None:
            raise flaw("unknown-key", "'config' has the command lines: leave them out here", other.at)
    return _path(top, "config", top["config"].at)


def _command_lines(top: Mapping[str, Node], kernel: Mapping[str, Node], at: Mark) -> CommandLines:
    options = _words(fields.required(top, "options", at), "options")
    return CommandLines(options, _words(kernel["arguments"], "arguments") if "arguments" in kernel else "")


def _words(node: Node, key: str) -> str:
    """Return a command line that Xen reads as it stands in its config."""
    value = fields.text(node)
    if not _TEXT.fullmatch(value):
        raise flaw(
            "bad-value", f"'{key}' holds a character that is not printable ASCII: Xen reads none", node.at
        )
    if "#" in value:
        raise flaw("bad-value", f"'{key}' holds a '#': Xen would take the rest for a comment", node.at)
    if value != value.strip(" "):
        raise flaw("bad-value", f"'{key}' begins or ends with a blank: Xen would drop it", node.at)
    if len(value) > MAX_COMMAND_LINE:
        what = f"'{key}' has {len(value)} characters: Xen keeps {MAX_COMMAND_LINE} and cuts the rest"
        raise flaw("bad-value", what, node.at)
    return value


def _recording(node: Node) -> str:
    return _path(fields.fields(node, ("recording",)), "recording", node.at)


def _path(entries: Mapping[str, Node], key: str, at: Mark) -> str:
    node = fields.required(entries, key, at)
    value = fields.text(node)
    if not _PATH.fullmatch(value):
        raise flaw(
            "bad-value", f"'{key}' must be a path of 1 to 1024 characters, none of them a control", node.at
        )
    return value

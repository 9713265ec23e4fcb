"""The labels that disks and VLANs were given after the host was described: they outlive a boot.

A label says what is on a disk, so a relabelled disk must not fall back to the label of ``host.yaml`` when the
host is switched off and on. ``labels.json`` in the host's folder has the present label of every resource
whose label was changed, by identity::

    {"format": "shype.labels/1", "labels": {"uuid:…": "bank-disk"}}

It is written before the change takes effect, in one step. Whoever can write it can write ``host.yaml`` too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from acm import strictjson
from acm.labels import INACCESSIBLE, UNLABELED, is_name, is_reserved
from acm.update import Update
from hypervisor.hostconfig import HostDescription
from shype.errors import ShypeInputError
from shype.files import SECRET, read, replacing

FILE: Final = "labels.json"
FORMAT: Final = "shype.labels/1"
MAX_SIZE: Final = 2 << 20


class ResourceLabelsError(ShypeInputError):
    """A file of labels that is not as it was written."""

    code = "resource-labels"


def load(folder: Path) -> dict[str, str]:
    """Return the labels by identity, nothing where none was changed. Raises ResourceLabelsError, OSError."""
    try:
        raw = read(folder / FILE, MAX_SIZE)
    except FileNotFoundError:
        return {}
    return decode(raw)


def decode(raw: bytes) -> dict[str, str]:
    """Return the labels in the bytes of a file. Raises ResourceLabelsError."""
    document = strictjson.read(raw, MAX_SIZE, lambda _, what: ResourceLabelsError(f"{FILE}: {what}"))
    if not isinstance(document, dict) or document.keys() != {"format", "labels"}:
        raise ResourceLabelsError(f"{FILE}: not exactly format and labels")
    labels = document["labels"]
    if document["format"] != FORMAT or not isinstance(labels, dict):
        raise ResourceLabelsError(f"{FILE}: this program reads format '{FORMAT}' only")
    for label in labels.values():
        if not _is_label(label):
            raise ResourceLabelsError(f"{FILE}: {str(label)[:40]!a} is no name of a label")
    return labels


def keep(folder: Path, labels: Mapping[str, str]) -> None:
    """Make these labels last beside those that are kept already. Raises ResourceLabelsError, OSError."""
    document = {"format": FORMAT, "labels": load(folder) | dict(labels)}
    with replacing(folder / FILE, SECRET) as write:
        write(json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")


@contextmanager
def kept(folder: Path, update: Update) -> Iterator[None]:
    """Make the labels last that an update gives to resources; takes that back where the block fails."""
    changed = {
        each.identity: (each.label, label)
        for each in update.live.resources
        if (label := update.names[each.identity]) is not None and label != each.label
    }
    if changed:
        keep(folder, {identity: new for identity, (_, new) in changed.items()})
    try:
        yield
    except BaseException:
        if changed:
            keep(folder, {identity: old for identity, (old, _) in changed.items()})
        raise


def described(description: HostDescription, labels: Mapping[str, str]) -> HostDescription:
    """Return the description with the labels that resources have now."""
    resources = (replace(each, label=labels.get(each.identity, each.label)) for each in description.resources)
    return replace(description, resources=tuple(resources))


def _is_label(label: object) -> bool:
    if not isinstance(label, str):
        return False
    return label in (UNLABELED.name, INACCESSIBLE.name) or (is_name(label) and not is_reserved(label))

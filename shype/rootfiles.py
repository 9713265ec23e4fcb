"""The programs of a root file system that lies in a folder, as reference values for dom0's user land."""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Final

from attest.ima import digest_list, ramdisk
from attest.ima.programs import HEAD, is_program, reference_of
from attest.ima.reference import FileReference
from shype.files import read_regular

MAX_RAMDISK: Final = 1 << 30
OPTIONS: Final = ("ima_root", "ima_ramdisk", "ima_list")


def register(verb: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = verb.add_argument_group("dom0's user land, for hosts that measure it into PCR 10")
    known = {
        "root": ("DIR", "a root file system: its programs, shared objects, scripts and kernel modules"),
        "ramdisk": ("FILE", "an initial ramdisk (cpio, gzip): the same"),
        "list": ("FILE", "digests and absolute paths, as sha256sum writes them: every file in it"),
    }
    for name, (word, text) in known.items():
        group.add_argument(
            f"--ima-{name}", action="append", default=[], type=Path, metavar=word, help=f"{text}; repeatable"
        )


def is_given(args: argparse.Namespace) -> bool:
    """Tell whether any of the options is there."""
    return any(getattr(args, name) for name in OPTIONS)


def reference(args: argparse.Namespace) -> FileReference | None:
    """Return the files that the options name, None without options.

    Raises OSError for what cannot be read, AttestInputError for what is broken.
    """
    if not is_given(args):
        return None
    found = FileReference({})
    for folder in args.ima_root:
        found = found.joined(programs(folder))
    for file in args.ima_ramdisk:
        found = found.joined(ramdisk.programs(read_regular(file, MAX_RAMDISK)))
    for file in args.ima_list:
        found = found.joined(digest_list.listed(read_regular(file, digest_list.MAX_LIST)))
    return found


def programs(root: Path) -> FileReference:
    """Return the programs of a tree, under the paths that they have when the tree is mounted as ``/``.

    No link is followed, so nothing outside the tree is read. Raises OSError, and FileReferenceError for the
    name of a program that is no UTF-8.
    """
    return reference_of(_programs(os.path.realpath(root, strict=True)))


def _programs(root: str) -> Iterator[tuple[str, str]]:
    for file in _files(root):
        with open(file, "rb", buffering=0, opener=_open) as content:
            about = os.fstat(content.fileno())
            path = file.removeprefix(root.rstrip("/"))
            head = content.read(HEAD) if stat.S_ISREG(about.st_mode) else None
            if head is not None and is_program(path, head, executable=bool(about.st_mode & 0o111)):
                yield path, _digest(content)


def _files(root: str) -> Iterator[str]:
    """Yield the regular files of a tree; every folder is listed whole before one below it is."""
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry.path


def _digest(content: FileIO) -> str:
    content.seek(0)
    return hashlib.file_digest(content, "sha256").hexdigest()


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "became a link while the tree was read", path) from None
        raise

"""Debian packages for dom0: resolved and checked by apt, unpacked without running their scripts.

Nothing is installed on this machine. Sources come from the same archives by a list of our own beside the
system's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.lab.errors import LabError
from tests.lab.tool import run

SECONDS: Final = 600


class Apt:
    """apt with its own state: an empty machine, on which nothing is installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._archives = folder / "archives"
        (self._archives / "partial").mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()

    def resolve(self, packages: Iterable[str]) -> tuple[str, ...]:
        """Return the file names of the packages and of all that they depend on, recommendations left out."""
        said = self._get("--print-uris", "-qq", "install", *packages)
        found = re.findall(r"^'[^']*' (\S+\.deb) \d+", said, re.MULTILINE)
        # What lies in the archive folder already is not printed: ask for the whole by a simulated install.
        planned = re.findall(r"^Inst (\S+) \((\S+)", self._get("-s", "install", *packages), re.MULTILINE)
        if not found and not planned:
            raise LabError("apt", f"resolves nothing for {' '.join(packages)}: run 'apt-get update' as root")
        return tuple(sorted(f"{name.partition(':')[0]}={version}" for name, version in planned))

    def fetch(self, packages: Iterable[str]) -> tuple[Path, ...]:
        """Download what :meth:`resolve` names; apt checks signatures and hashes."""
        wanted = self.resolve(packages)
        self._get("-y", "--download-only", "install", *packages)
        return tuple(self._archive(name) for name in wanted)

    def kernel(self) -> str:
        """Return the package that holds Debian's present kernel."""
        said = run("apt-cache", "depends", "linux-image-amd64")
        found = re.search(r"Depends: (linux-image-\d\S*-amd64)$", said, re.MULTILINE)
        if found is None:
            raise LabError("apt", "linux-image-amd64 depends on no kernel package")
        return found[1]

    def download(self, package: str) -> Path:
        """Download one package alone."""
        version = re.search(
            r"^\s*Candidate: (?!\(none\))(\S+)$", run("apt-cache", "policy", package), re.MULTILINE
        )
        if version is None:
            raise LabError("apt", f"does not know {package}: run 'apt-get update' as root once")
        kept = self._archives / f"{package}_{version[1].replace(':', '%3a')}_amd64.deb"
        if not kept.is_file():
            run("apt-get", *self._options(), "download", package, cwd=self._archives, seconds=SECONDS)
        return self._archive(f"{package}={version[1]}")

    def source(self, package: str, version: str, folder: Path) -> None:
        """Download a source package into ``folder``; raises LabError where the archive has it no longer."""
        own = self._folder / "source"
        for part in ("lists/partial", "parts"):
            (own / part).mkdir(parents=True, exist_ok=True)
        for path in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")):
            if path.suffix in {".list", ".sources"} and path.is_file():
                text = re.sub(r"^Types:.*$", "Types: deb-src", path.read_text(), flags=re.MULTILINE)
                (own / "parts" / path.name).write_text(re.sub(r"^deb\b", "deb-src", text, flags=re.MULTILINE))
        options = [
            *("-o", "Dir::Etc::SourceList=/dev/null", "-o", f"Dir::Etc::SourceParts={own}/parts"),
            *("-o", f"Dir::State::Lists={own}/lists", "-o", "APT::Sandbox::User="),
        ]
        run("apt-get", *options, "update", seconds=SECONDS)
        run(
            *("apt-get", *options, "source", "--download-only", f"{package}={version}"),
            cwd=folder,
            seconds=SECONDS,
        )

    def _get(self, *words: str) -> str:
        return run("apt-get", *self._options(), *words, seconds=SECONDS)

    def _options(self) -> Sequence[str]:
        state = f"Dir::State::status={self._folder}/status"
        cache = f"Dir::Cache::archives={self._archives}"
        return (
            *("-o", state, "-o", cache, "-o", "APT::Install-Recommends=no"),
            *("-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="),
        )

    def _archive(self, pinned: str) -> Path:
        name, _, version = pinned.partition("=")
        found = sorted(self._archives.glob(f"{name}_{version.replace(':', '%3a')}_*.deb"))
        if len(found) != 1:
            raise LabError("apt", f"{pinned}: {len(found)} archives instead of one")
        return found[0]


def unpack(archives: Iterable[Path], folder: Path) -> None:
    """Lay the files of packages into a folder; no script of theirs is run."""
    for archive in archives:
        content = folder.parent / "content.tar"
        run("sh", "-c", 'dpkg-deb --fsys-tarfile "$0" >"$1"', archive, content)
        run("tar", "--no-same-owner", "-xf", content, "-C", folder)
        content.unlink()

"""Debian packages for dom0: resolved and checked by apt, unpacked without running their scripts.

Nothing is installed on this machine. Sources come from the same archives by a list of our own beside the
system's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.lab.errors import LabError
from tests.lab.network import Result, persistent
from tests.lab.tool import run, say

SECONDS: Final = 600
STRICT: Final = ("-o", "APT::Update::Error-Mode=any")
"""Without it an update of which nothing came is a success."""
ALONE: Final = ("-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=", "-o", "Acquire::Retries=3")
"""No lock and no other user: the folders are ours. A download that breaks off is taken up again."""


class Apt:
    """apt with its own state: an empty machine, on which nothing is installed.

    It reads the system's package lists. Where these are missing, or so old that the mirror no longer has what
    they name, it fetches lists of its own from the same sources; root is not needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._archives = folder / "archives"
        (self._archives / "partial").mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        self._own_lists: tuple[str, ...] = ()

    def resolve(self, packages: Iterable[str]) -> tuple[str, ...]:
        """Return name=version of the packages and of all that they depend on, recommendations left out."""
        return self._persistent(f"to resolve {' '.join(packages)}", lambda: self._resolve(packages))

    def fetch(self, packages: Iterable[str]) -> tuple[Path, ...]:
        """Download what :meth:`resolve` names; what lies there already is checked against apt's hashes."""

        def step() -> tuple[Path, ...]:
            wanted = self._resolve(packages)
            self._drop_broken(wanted)
            self._get("-y", "--download-only", "install", *packages)
            return self._checked(wanted)

        return self._persistent("the download of dom0's packages", step)

    def kernel(self) -> str:
        """Return the package that holds Debian's present kernel."""

        def step() -> str:
            said = self._ask("depends", "linux-image-amd64")
            found = re.search(r"Depends: (linux-image-\d\S*-amd64)$", said, re.MULTILINE)
            if found is None:
                raise LabError("apt", "linux-image-amd64 depends on no kernel package")
            return found[1]

        return self._persistent("to ask for Debian's kernel", step)

    def download(self, package: str) -> Path:
        """Download one package alone."""

        def step() -> Path:
            said = self._ask("policy", package)
            version = re.search(r"^\s*Candidate: (?!\(none\))(\S+)$", said, re.MULTILINE)
            if version is None:
                raise LabError("apt", f"does not know {package}")
            pinned = (f"{package}={version[1]}",)
            self._drop_broken(pinned)
            if not self._found(pinned[0]):
                run("apt-get", *self._options(), "download", pinned[0], cwd=self._archives, seconds=SECONDS)
            return self._checked(pinned)[0]

        return self._persistent(f"the download of {package}", step)

    def source(self, package: str, version: str, folder: Path) -> None:
        """Download a source package into ``folder``; raises LabError where the archive has it no longer."""
        own = self._folder / "source"
        for part in ("lists/partial", "parts"):
            (own / part).mkdir(parents=True, exist_ok=True)
        (own / "none").write_text("")
        for path in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")):
            if path.suffix in {".list", ".sources"} and path.is_file():
                text = re.sub(r"^Types:.*$", "Types: deb-src", path.read_text(), flags=re.MULTILINE)
                (own / "parts" / path.name).write_text(re.sub(r"^deb\b", "deb-src", text, flags=re.MULTILINE))
        options = (
            *("-o", f"Dir::Etc::SourceList={own}/none", "-o", f"Dir::Etc::SourceParts={own}/parts"),
            *("-o", f"Dir::State::Lists={own}/lists", *ALONE),
        )

        def step() -> None:
            stale = None
            try:
                run("apt-get", *options, *STRICT, "update", seconds=SECONDS)
            except LabError as error:
                stale = error  # perhaps of another archive than the one with this package
            try:
                run(
                    *("apt-get", *options, "source", "--download-only", f"{package}={version}"),
                    cwd=folder,
                    seconds=SECONDS,
                )
            except LabError as error:
                raise (stale or error) from None

        persistent(f"the download of the source of {package}", step)

    def _persistent(self, what: str, step: Callable[[], Result]) -> Result:
        return persistent(what, step, between=self._renew)

    def _renew(self) -> None:
        """Fetch package lists of our own, and use them from here on if they are all there."""
        lists = self._folder / "lists"
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        own = ("-o", f"Dir::State::Lists={lists}")
        run("apt-get", *own, *ALONE, *STRICT, "update", seconds=SECONDS)
        self._own_lists = own

    def _resolve(self, packages: Iterable[str]) -> tuple[str, ...]:
        planned = re.findall(r"^Inst (\S+) \((\S+)", self._get("-s", "install", *packages), re.MULTILINE)
        if not planned:
            raise LabError("apt", f"resolves nothing for {' '.join(packages)}")
        return tuple(sorted(f"{name.partition(':')[0]}={version}" for name, version in planned))

    def _get(self, *words: str) -> str:
        return run("apt-get", *self._options(), *words, seconds=SECONDS)

    def _ask(self, *words: str) -> str:
        return run("apt-cache", *self._options(), *words, seconds=SECONDS)

    def _options(self) -> Sequence[str]:
        state = f"Dir::State::status={self._folder}/status"
        cache = f"Dir::Cache::archives={self._archives}"
        alone = ("-o", "APT::Install-Recommends=no", *ALONE)
        return ("-o", state, "-o", cache, *self._own_lists, *alone)

    def _digests(self, pinned: Sequence[str]) -> dict[str, str]:
        """Return the SHA-256 of each package's file, as apt's signed lists have it."""
        found = {}
        for record in self._ask("show", *pinned).split("\n\n"):
            fields = dict(re.findall(r"^(Package|Version|SHA256): (\S+)$", record, re.MULTILINE))
            if len(fields) == len(("Package", "Version", "SHA256")):
                found[f"{fields['Package']}={fields['Version']}"] = fields["SHA256"]
        return found

    def _drop_broken(self, pinned: Sequence[str]) -> None:
        """Remove archives that are not what they are called: a run that was killed, a disk that forgot."""
        for name, digest in self._digests(pinned).items():
            for archive in self._found(name):
                if hashlib.sha256(archive.read_bytes()).hexdigest() != digest:
                    say(f"{archive.name} in the cache is broken: it is fetched again")
                    archive.unlink()

    def _checked(self, pinned: Sequence[str]) -> tuple[Path, ...]:
        digests = self._digests(pinned)
        archives = []
        for name in pinned:
            found = self._found(name)
            if len(found) != 1:
                raise LabError("apt", f"{name}: {len(found)} archives instead of one")
            if hashlib.sha256(found[0].read_bytes()).hexdigest() != digests.get(name):
                raise LabError("apt", f"{found[0].name} has not the SHA-256 of the package lists")
            archives.append(found[0])
        return tuple(archives)

    def _found(self, pinned: str) -> list[Path]:
        name, _, version = pinned.partition("=")
        return sorted(self._archives.glob(f"{name}_{version.replace(':', '%3a')}_*.deb"))


def unpack(archives: Iterable[Path], folder: Path) -> None:
    """Lay the files of packages into a folder; no script of theirs is run."""
    for archive in archives:
        content = folder.parent / "content.tar"
        run("sh", "-c", 'dpkg-deb --fsys-tarfile "$0" >"$1"', archive, content)
        run("tar", "--no-same-owner", "-xf", content, "-C", folder)
        content.unlink()

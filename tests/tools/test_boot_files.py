"""``tools/boot-files``: what it builds without a download, and what it leaves alone."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def tool(repository: Path) -> Any:
    source = SourceFileLoader("boot_files", str(repository / "tools/boot-files"))
    spec = spec_from_loader("boot_files", source)
    assert spec is not None
    module = module_from_spec(spec)
    source.exec_module(module)
    return module


@pytest.mark.tools
def test_cpio_reads_the_ramdisk(tool: Any, tmp_path: Path) -> None:
    import gzip

    raw = gzip.decompress(tool.ramdisk(b"busybox"))
    done = subprocess.run(
        ["cpio", "-idv", "--quiet"], input=raw, cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stderr.decode().split() == ["bin", "bin/busybox", "init"]
    assert (tmp_path / "bin/busybox").read_bytes() == b"busybox"
    assert (tmp_path / "init").stat().st_mode & 0o777 == 0o755


def test_ramdisk_and_memdisk_are_the_same_each_time(tool: Any) -> None:
    assert tool.ramdisk(b"x") == tool.ramdisk(b"x")
    assert tool.memdisk(b"x") == tool.memdisk(b"x")


def test_the_memdisk_holds_the_script_where_grub_looks(tool: Any) -> None:
    with tarfile.open(fileobj=io.BytesIO(tool.memdisk(b"boot\n"))) as archive:
        assert archive.getnames() == ["boot/grub/grub.cfg"]
        content = archive.extractfile("boot/grub/grub.cfg")
        assert content is not None
        assert content.read() == b"boot\n"


def made(tool: Any, folder: Path, config: bytes) -> Path:
    files = {}
    for name in tool.NEEDED:
        content = config if name == "grub.cfg" else name.encode()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        files[name] = hashlib.sha256(content).hexdigest()
    (folder / tool.MANIFEST).write_text(json.dumps({"packages": [], "files": files}))
    return folder


def test_a_complete_folder_is_left_alone_an_altered_one_is_not(tool: Any, tmp_path: Path) -> None:
    folder = made(tool, tmp_path / "boot", b"boot\n")
    assert tool.complete(folder, b"boot\n")
    assert not tool.complete(folder, b"other\n")
    (folder / "grub.cfg").write_bytes(b"altered\n")
    assert not tool.complete(folder, b"boot\n")
    assert not tool.complete(tmp_path / "none", b"boot\n")


def test_a_folder_of_an_earlier_version_is_not_complete(tool: Any, tmp_path: Path) -> None:
    folder = made(tool, tmp_path / "boot", b"boot\n")
    manifest = json.loads((folder / tool.MANIFEST).read_text())
    del manifest["files"]["xen.efi"]
    (folder / tool.MANIFEST).write_text(json.dumps(manifest))
    assert not tool.complete(folder, b"boot\n")


def test_only_a_folder_of_its_own_is_replaced(tool: Any, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter").write_text("dear")
    new = made(tool, tmp_path / "new", b"boot\n")
    with pytest.raises(tool.BootFilesError, match="not made by this program"):
        tool.replace(tmp_path / "home", new)
    assert (tmp_path / "home/letter").read_text() == "dear"
    old = made(tool, tmp_path / "boot", b"old\n")
    tool.replace(old, new)
    assert (tmp_path / "boot/grub.cfg").read_bytes() == b"boot\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boot", "home"]

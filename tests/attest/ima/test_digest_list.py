"""Lists of digests, as sha256sum writes them."""

from __future__ import annotations

import hashlib
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.errors import AttestInputError
from attest.ima.digest_list import DigestListError, listed

DIGEST = hashlib.sha256(b"x").hexdigest()
OTHER = hashlib.sha256(b"y").hexdigest()


def test_what_sha256sum_writes(tmp_path: Path) -> None:
    names = ["plain", "with blank", "line\nfeed", "back\\slash", "\\n", "é"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    for mode in ("--text", "--binary"):
        command = ["sha256sum", mode, *(str(tmp_path / name) for name in names)]
        raw = subprocess.run(command, capture_output=True, check=True).stdout
        assert listed(raw).files == {str(tmp_path / name): frozenset({DIGEST}) for name in names}


def test_a_path_with_two_contents_has_both() -> None:
    raw = f"{DIGEST}  /a\n{OTHER}  /a\n{DIGEST}  /a\n".encode()
    assert listed(raw).files == {"/a": frozenset({DIGEST, OTHER})}


def test_an_empty_list_is_a_failure_of_what_wrote_it() -> None:
    with pytest.raises(DigestListError, match="empty"):
        listed(b"")


BROKEN = {
    "cut": f"{DIGEST}  /a",
    "cut in the digest": DIGEST[:40],
    "blank line": f"{DIGEST}  /a\n\n",
    "comment": "# files\n",
    "one blank": f"{DIGEST} /a\n",
    "upper case": f"{DIGEST.upper()}  /a\n",
    "SHA-1": f"{DIGEST[:40]}  /a\n",
    "relative": f"{DIGEST}  a\n",
    "dots": f"{DIGEST}  /a/../b\n",
    "dot": f"{DIGEST}  /./b\n",
    "slashes": f"{DIGEST}  //a\n",
    "slash at the end": f"{DIGEST}  /a/\n",
    "unknown escape": f"\\{DIGEST}  /a\\tb\n",
    "lone backslash": f"\\{DIGEST}  /a\\\n",
    "no name": f"{DIGEST}  \n",
    "NUL and more": "\0\0\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_refused_names_its_line(text: str) -> None:
    good = f"{DIGEST}  /good\n"
    with pytest.raises(DigestListError, match=r"^digest list: line \d+: ") as caught:
        listed((good + text).encode())
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_text() -> None:
    with pytest.raises(AttestInputError, match="UTF-8"):
        listed(f"{DIGEST}  /".encode() + b"\xff\n")


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(raw: bytes) -> None:
    with suppress(AttestInputError):
        listed(raw)
    with suppress(AttestInputError):
        listed(f"{DIGEST}  /".encode() + raw)

"""Broken copies of good input: cut, extended, bits flipped, parts replaced; JSON with one value changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any, Final

WORDS: Final = (
    *(
        b"\x00",
        b"\xff",
        b"\xff\xff\xff\xff",
        b"\x80\x00\x00\x00",
        b"\n",
        b" ",
        b"\r\n",
        b'"',
        b"'",
        b"\\",
        b"$",
    ),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"- ",
        b"&a ",
        b"*a",
        b"!!python/object:os.system ",
        b"? ",
        b"#",
        b"|",
    ),
    *(b"NaN", b"-0", b"1e999", b"9" * 5000, b"null", b"true", b"\xed\xa0\x80", b"\\ud800", b"\xef\xbb\xbf"),
    *("é".encode(), "٣".encode(), b"..", b"/", b"%s", b"-----END", b"===", b"\x1b[2J"),
)
"""What upsets parsers of text and of binary fields."""

VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**32, 2**53, 2**63, 2**64, 10**19, 10**30, 0.5, 1e300),
    *(
        "",
        " ",
        "\0",
        "\ud800",
        "é",
        "٣",
        "\x1b[2J",
        "a" * 70_000,
        "../../etc/passwd",
        "00",
        "zz",
        "AAAA",
        "AA==",
    ),
    *("0" * 64, "F" * 64, "0" * 63, "1970-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "10000-01-01T00:00:00Z"),
    *([], {}, [[]], [None], [0] * 1000, {"": None}, {"a": {"b": []}}, [[[[[[[[[[]]]]]]]]]]),
)

HOSTILE: Final = {
    "nothing": b"",
    "one zero": b"\0",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 50_000,
    "deep YAML": b"- " * 20_000,
    "billion laughs": b"a: &a [1,1]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n",
    "NaN": b'{"schema": NaN}',
    "huge number": b'{"schema": ' + b"9" * 100_000 + b"}",
    "key twice": b'{"a": 1, "a": 2}',
    "not UTF-8": b'{"schema": "\xff\xfe"}',
    "UTF-16": '{"schema": "a"}'.encode("utf-16"),
    "long line": b"a" * 100_000,
    "many lines": b"a\n" * 20_000,
    "many blanks": b" " * 100_000,
    "gzip bomb head": b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\xed\xc1\x01\x01" * 1000,
    "DER of huge length": b"\x30\x84\xff\xff\xff\xff",
    "DER, deep": b"\x30\x80" * 20_000,
    "PEM without end": b"-----BEGIN CERTIFICATE-----\n" * 2000,
}
"""Input that is wrong for every parser."""


def mutant(dice: Random, seed: bytes) -> bytes:
    """A broken copy of ``seed``."""
    changes = [_cut, _extend, _flip, _overwrite, _insert, _remove, _repeat]
    if seed[:1] in {b"{", b"["}:
        changes += [_json_value] * 4
    return dice.choice(changes)(dice, seed)


def _cut(dice: Random, seed: bytes) -> bytes:
    return seed[: dice.randrange(len(seed) or 1)]


def _extend(dice: Random, seed: bytes) -> bytes:
    return seed + dice.choice((dice.randbytes(dice.randint(1, 64)), dice.choice(WORDS), seed))


def _flip(dice: Random, seed: bytes) -> bytes:
    raw = bytearray(seed or b"\0")
    for _ in range(dice.randint(1, 4)):
        raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
    return bytes(raw)


def _overwrite(dice: Random, seed: bytes) -> bytes:
    at, word = (
        dice.randrange(len(seed) or 1),
        dice.choice((dice.choice(WORDS), dice.randbytes(dice.randint(1, 8)))),
    )
    return seed[:at] + word + seed[at + len(word) :]


def _insert(dice: Random, seed: bytes) -> bytes:
    at = dice.randrange(len(seed) or 1)
    return seed[:at] + dice.choice(WORDS) + seed[at:]


def _remove(dice: Random, seed: bytes) -> bytes:
    at = dice.randrange(len(seed) or 1)
    return seed[:at] + seed[at + dice.randint(1, 64) :]


def _repeat(dice: Random, seed: bytes) -> bytes:
    at, size = dice.randrange(len(seed) or 1), dice.randint(1, 256)
    return seed[:at] + seed[at : at + size] * dice.randint(2, 20) + seed[at + size :]


def _json_value(dice: Random, seed: bytes) -> bytes:
    """Change one value and write the document as it was: sorted and without blanks where that was so."""
    try:
        document = json.loads(seed)
    except ValueError:
        lines = seed.splitlines(keepends=True)
        if len(lines) == 1:
            return _insert(dice, seed)  # begins like a document and is none
        at = dice.randrange(len(lines))
        return b"".join([*lines[:at], _json_value(dice, lines[at]), *lines[at + 1 :]])
    *way, last = dice.choice(list(_paths(document)))
    inner = document
    for step in way:
        inner = inner[step]
    if dice.random() < 0.1 and isinstance(inner, dict):
        inner[dice.choice(["", "schema", "zz", "é"])] = inner.pop(last)
    else:
        inner[last] = dice.choice(VALUES)
    tight = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return tight.encode() + seed[len(seed.rstrip()) :]


def _paths(value: Any) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (name,)
        yield from ((name, *rest) for rest in _paths(inner))

"""Which event data a digest vouches for, and how.

A PCR takes digests only. For some event types the standard defines the digest as the hash of the event's own
data, so the data can be checked; for others the data only describe what was hashed (a driver, a file, a
table) and nothing checks them. ``docs/eventlog.md`` has the table that ``RULES`` spells out.

Sources: TCG PC Client PFP 1.06, table "Events"; GRUB manual, "Measuring boot components"; systemd-boot and
shim for their habits, each seen in real logs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from struct import Struct
from typing import Final

from attest.eventlog.log import HASHES, Event
from attest.eventlog.types import EventType
from attest.ima.template import fields_of

_VARIABLE: Final = Struct("<16sQQ")
_TAG: Final = Struct("<II")
SHIM_TAIL: Final = 6
"""Bytes that shim before 15.3 logs behind a variable; it measures all but the last."""
LINUX_TAGS: Final = frozenset({0x8F3B22EC, 0x8F3B22ED})
"""Tag ids of the Linux EFI stub: initrd, load options (drivers/firmware/efi/libstub)."""

GRUB_PREFIXES: Final = (
    b"grub_cmd: ",
    b"kernel_cmdline: ",
    b"module_cmdline: ",
    b"grub_cmd ",
    b"grub_kernel_cmdline ",
)
"""What GRUB 2.04 and up, and Red Hat's GRUB before it, write before the text that they hash."""


class Rule(StrEnum):
    """How the hashed bytes follow from the event data."""

    WHOLE = "whole-data"
    """The data as they are."""
    VARIABLE_VALUE = "variable-value"
    """Only the value of a UEFI_VARIABLE_DATA: its name and vendor are not bound."""
    SHIM_VARIABLE = "shim-variable"
    """UEFI_VARIABLE_DATA and a tail of six bytes, the last of which is not hashed (shim before 15.3)."""
    TEXT_AFTER_PREFIX = "text-after-prefix"
    """GRUB: the text behind ``grub_cmd: `` and its like; the prefix is not bound."""
    WITH_NUL = "with-nul"
    """systemd-boot: one NUL byte more than is logged."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What an event's digests say of its data.

    ``matches``: True, they are the hash of ``measured``, found by ``rule``; False, they should be the hash of
    the data and are not; None, the data only describe what was measured.
    """

    matches: bool | None
    rule: Rule | None = None
    measured: bytes | None = None


_SAYS_NOTHING: Final = Binding(matches=None)
_DIFFERS: Final = Binding(matches=False)


@dataclass(frozen=True, slots=True)
class TypeRules:
    """The rules for one event type, in the order to try.

    Where none fits, ``describes`` says whether data like these only describe what was hashed; if not, the
    data are wrong.
    """

    rules: tuple[Rule, ...]
    describes: Callable[[bytes], bool]


def _never(_: bytes) -> bool:
    return False


def _always(_: bytes) -> bool:
    return True


def _is_linux_tag(data: bytes) -> bool:
    """Tell whether the Linux EFI stub tagged its initrd or command line: it logs only their names."""
    return len(data) >= _TAG.size and _TAG.unpack_from(data)[0] in LINUX_TAGS


def _has_no_prefix(data: bytes) -> bool:
    return not data.startswith(GRUB_PREFIXES)


_BOUND: Final = TypeRules((Rule.WHOLE,), _never)
_DESCRIBED: Final = TypeRules((Rule.WHOLE,), _always)
_UNBOUND: Final = TypeRules((), _always)

RULES: Final[dict[str, TypeRules]] = {
    EventType.EV_NO_ACTION.name: _UNBOUND,
    EventType.EV_SEPARATOR.name: _BOUND,
    EventType.EV_ACTION.name: _BOUND,
    EventType.EV_EFI_ACTION.name: _BOUND,
    EventType.EV_S_CRTM_VERSION.name: _BOUND,
    EventType.EV_OMIT_BOOT_DEVICE_EVENTS.name: _BOUND,
    EventType.EV_EFI_GPT_EVENT.name: _BOUND,
    EventType.EV_EFI_VARIABLE_DRIVER_CONFIG.name: _BOUND,
    EventType.EV_EFI_VARIABLE_BOOT.name: TypeRules((Rule.WHOLE, Rule.VARIABLE_VALUE), _never),
    EventType.EV_EFI_VARIABLE_BOOT2.name: _BOUND,
    EventType.EV_EFI_VARIABLE_AUTHORITY.name: TypeRules((Rule.WHOLE, Rule.SHIM_VARIABLE), _never),
    EventType.EV_EFI_SPDM_DEVICE_POLICY.name: _BOUND,
    EventType.EV_EFI_SPDM_DEVICE_AUTHORITY.name: _BOUND,
    EventType.EV_EVENT_TAG.name: TypeRules((Rule.WHOLE,), _is_linux_tag),
    EventType.EV_IPL.name: TypeRules((Rule.WHOLE, Rule.TEXT_AFTER_PREFIX, Rule.WITH_NUL), _has_no_prefix),
}
"""Event type -> rules. The templates of IMA are bound whole (a violation is not); any other type describes:
True where the digest fits the data, else None."""


def binding(event: Event, banks: Collection[int] | None = None) -> Binding:
    """Judge an event's data by its digests, or by those of ``banks`` only; all of them must agree."""
    rules = RULES.get(event.untrusted_type) or _rules_of_template(event)
    digests = [
        (HASHES[alg], digest)
        for alg, digest in event.digests
        if alg in HASHES and (banks is None or alg in banks)
    ]
    if not digests or not rules.rules:
        return _SAYS_NOTHING
    for rule in rules.rules:
        for measured in _CANDIDATES[rule](event.untrusted_data):
            if all(hash_(measured).digest() == digest for hash_, digest in digests):
                return Binding(matches=True, rule=rule, measured=measured)
    return _SAYS_NOTHING if rules.describes(event.untrusted_data) else _DIFFERS


def contradicts(event: Event) -> bool:
    """Tell whether an event's data should be what its digests are of, and are not."""
    rules = RULES.get(event.untrusted_type) or _rules_of_template(event)
    return not rules.describes(event.untrusted_data) and binding(event).matches is False


def _rules_of_template(event: Event) -> TypeRules:
    """Return the rules of a measurement list's entry: all its data are hashed, but for a violation."""
    if fields_of(event.untrusted_type) is None:
        return _DESCRIBED
    return _BOUND if any(any(digest) for _, digest in event.digests) else _UNBOUND


def _whole(data: bytes) -> Iterator[bytes]:
    yield data


def _variable_value(data: bytes) -> Iterator[bytes]:
    """UEFI_VARIABLE_DATA: vendor GUID [16], name length in characters u64, value length u64, name, value."""
    if len(data) < _VARIABLE.size:
        return
    _, name, value = _VARIABLE.unpack_from(data)
    if _VARIABLE.size + 2 * name + value == len(data):
        yield data[_VARIABLE.size + 2 * name :]


def _shim_variable(data: bytes) -> Iterator[bytes]:
    if len(data) < _VARIABLE.size:
        return
    _, name, value = _VARIABLE.unpack_from(data)
    if _VARIABLE.size + 2 * name + value + SHIM_TAIL == len(data):
        yield data[:-1]


def _after_prefix(data: bytes) -> Iterator[bytes]:
    prefix = next((each for each in GRUB_PREFIXES if data.startswith(each)), None)
    if prefix is not None:
        text = data[len(prefix) :]
        yield text.removesuffix(b"\0")
        yield text


def _with_nul(data: bytes) -> Iterator[bytes]:
    yield data + b"\0"


_CANDIDATES: Final[dict[Rule, Callable[[bytes], Iterator[bytes]]]] = {
    Rule.WHOLE: _whole,
    Rule.VARIABLE_VALUE: _variable_value,
    Rule.SHIM_VARIABLE: _shim_variable,
    Rule.TEXT_AFTER_PREFIX: _after_prefix,
    Rule.WITH_NUL: _with_nul,
}

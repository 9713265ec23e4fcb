"""Certificates of TPM makers that are not quite DER: what is put up with, and said (RFC 5280, 4.1).

The list is closed, and each entry is bounded to one place:

- ``fill``: bytes of one value after the certificate. NV indices are larger than what is in them (00, FF;
  STMicroelectronics), and files end in a line feed (AMD).
- ``set-order``: the attributes of one RelativeDistinguishedName, in issuer, subject or a directoryName of the
  subjectAltName, are not in the order of X.690, 11.6 (Nuvoton).
- ``ecdsa-parameters``: NULL after ecdsa-with-SHA2, where nothing may stand (RFC 5758, 3.2; Intel).
- ``rsaes-oaep``: an RSA key that says id-RSAES-OAEP (RFC 4055, 4.1; EKs of the TPM 1.2 generation).
- ``serial``: a serial number with needless leading zeros (X.690, 8.3.2; STMicroelectronics).

A corrected copy is made for a strict parser to read. Nothing of it is ever verified: signatures are over
``signed``, the bytes as the maker signed them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from attest import der
from attest.der import DerError, Element

_VERSION: Final = 0xA0
_EXTENSIONS: Final = 0xA3
_DIRECTORY_NAME: Final = 0xA4
_OPTIONAL: Final = frozenset({0x81, 0x82, _EXTENSIONS})
_FIELDS: Final = (_VERSION, der.INTEGER, *(der.SEQUENCE,) * 5)
"""TBSCertificate of version 3, up to its optional fields."""
_PARTS: Final = 3

_NULL: Final = b"\x05\x00"
_ECDSA_SHA2: Final = frozenset(bytes.fromhex(f"06082a8648ce3d04030{each}") for each in range(1, 5))
"""ecdsa-with-SHA224 to SHA512."""
_RSAES_OAEP: Final = bytes.fromhex("06092a864886f70d010107")
_RSA_ENCRYPTION: Final = bytes.fromhex("06092a864886f70d010101")
_ALT_NAME: Final = bytes.fromhex("0603551d11")


class Bent(StrEnum):
    """What was put up with."""

    FILL = "fill"
    SET_ORDER = "set-order"
    ECDSA_PARAMETERS = "ecdsa-parameters"
    RSAES_OAEP = "rsaes-oaep"
    SERIAL = "serial"


@dataclass(frozen=True, slots=True)
class Unbent:
    """A certificate taken apart. ``readable`` is for a strict parser alone; all else is the maker's."""

    whole: bytes
    """What was read, fill included."""
    der: bytes
    readable: bytes
    signed: bytes
    """TBSCertificate."""
    algorithms: tuple[bytes, bytes]
    """The AlgorithmIdentifier under the signature, and the one beside it."""
    signature: bytes
    bent: tuple[Bent, ...]


def unbend(raw: bytes) -> Unbent:
    """Take one certificate apart, fill after it included; raises DerError for all that is not in the list."""
    whole = der.first(raw)
    fill = raw[len(whole.raw) :]
    if len(set(fill)) > 1:
        raise DerError(len(whole.raw), f"{len(fill)} bytes after the certificate that are no fill")
    parts = whole.children(der.SEQUENCE)
    if len(parts) != _PARTS:
        raise DerError(0, f"{len(parts)} parts; a certificate has {_PARTS}")
    signed, algorithm, signature = parts
    if signature.tag != der.BIT_STRING or signature.body[:1] != b"\0":
        raise DerError(0, "the signature is no BIT STRING of whole bytes")
    bent: set[Bent] = {Bent.FILL} if fill else set()
    fields = signed.children(der.SEQUENCE)
    readable = der.encode(der.SEQUENCE, _tbs(fields, bent), _algorithm(algorithm, bent), signature.raw)
    return Unbent(
        whole=raw,
        der=whole.raw,
        readable=readable if bent - {Bent.FILL} else whole.raw,
        signed=signed.raw,
        algorithms=(fields[2].raw, algorithm.raw),
        signature=signature.body[1:],
        bent=tuple(each for each in Bent if each in bent),
    )


def _tbs(fields: list[Element], bent: set[Bent]) -> bytes:
    tags = [field.tag for field in fields]
    required, optional = tags[: len(_FIELDS)], tags[len(_FIELDS) :]
    if tuple(required) != _FIELDS or not set(optional) <= _OPTIONAL or optional != sorted(set(optional)):
        raise DerError(0, "the fields are not those of an X.509 certificate of version 3")
    version, serial, algorithm, issuer, validity, subject, key, *rest = fields
    return der.encode(
        der.SEQUENCE,
        version.raw,
        _serial(serial, bent),
        _algorithm(algorithm, bent),
        _name(issuer, bent),
        validity.raw,
        _name(subject, bent),
        _key(key, bent),
        *(_extensions(field, bent) if field.tag == _EXTENSIONS else field.raw for field in rest),
    )


def _serial(serial: Element, bent: set[Bent]) -> bytes:
    shortest = serial.body.lstrip(b"\0")
    if not shortest or shortest[0] & 0x80:
        shortest = b"\0" + shortest
    if len(shortest) >= len(serial.body):
        return serial.raw
    bent.add(Bent.SERIAL)
    return der.encode(der.INTEGER, shortest)


def _algorithm(algorithm: Element, bent: set[Bent]) -> bytes:
    parts = [part.raw for part in algorithm.children(der.SEQUENCE)]
    if len(parts) == 2 and parts[0] in _ECDSA_SHA2 and parts[1] == _NULL:  # noqa: PLR2004 - OID and parameters
        bent.add(Bent.ECDSA_PARAMETERS)
        return der.encode(der.SEQUENCE, parts[0])
    return algorithm.raw


def _name(name: Element, bent: set[Bent]) -> bytes:
    return der.encode(der.SEQUENCE, *(_relative_name(part, bent) for part in name.children(der.SEQUENCE)))


def _relative_name(name: Element, bent: set[Bent]) -> bytes:
    attributes = [attribute.raw for attribute in name.children(der.SET)]
    in_order = sorted(attributes)
    if attributes != in_order:
        bent.add(Bent.SET_ORDER)
    return der.encode(der.SET, *in_order)


def _key(key: Element, bent: set[Bent]) -> bytes:
    algorithm, *rest = key.children(der.SEQUENCE) or [key]
    parts = [part.raw for part in algorithm.children(der.SEQUENCE)]
    if parts[:1] != [_RSAES_OAEP]:
        return key.raw
    bent.add(Bent.RSAES_OAEP)
    plain = der.encode(der.SEQUENCE, _RSA_ENCRYPTION, _NULL)
    return der.encode(der.SEQUENCE, plain, *(part.raw for part in rest))


def _extensions(field: Element, bent: set[Bent]) -> bytes:
    found = [each for inside in field.children(_EXTENSIONS) for each in inside.children(der.SEQUENCE)]
    return der.encode(
        _EXTENSIONS, der.encode(der.SEQUENCE, *(_extension(extension, bent) for extension in found))
    )


def _extension(extension: Element, bent: set[Bent]) -> bytes:
    parts = extension.children(der.SEQUENCE)
    if not parts or parts[0].raw != _ALT_NAME or parts[-1].tag != der.OCTET_STRING:
        return extension.raw
    names = der.first(parts[-1].body)
    if len(names.raw) != len(parts[-1].body):
        raise DerError(len(names.raw), "bytes after the subjectAltName")
    unbent = [_general_name(name, bent) for name in names.children(der.SEQUENCE)]
    value = der.encode(der.OCTET_STRING, der.encode(der.SEQUENCE, *unbent))
    return der.encode(der.SEQUENCE, *(part.raw for part in parts[:-1]), value)


def _general_name(name: Element, bent: set[Bent]) -> bytes:
    if name.tag != _DIRECTORY_NAME:
        return name.raw
    return der.encode(_DIRECTORY_NAME, *(_name(inside, bent) for inside in name.children(_DIRECTORY_NAME)))

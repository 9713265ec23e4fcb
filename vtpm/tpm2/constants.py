"""Numbers of the TPM 2.0 Library Specification, Part 2, and of the TCG Algorithm Registry."""

from __future__ import annotations

import hashlib
from enum import IntEnum, IntFlag
from typing import Final

GENERATED: Final = 0xFF544347
"""TPM_GENERATED_VALUE (Part 2, 6.2): only a TPM puts it before what a restricted key signs."""

PCR_COUNT: Final = 24
"""PCRs of a PC Client platform (PC Client Platform TPM Profile, 4.6)."""


class Alg(IntEnum):
    """TPM_ALG_ID (Part 2, 6.3)."""

    RSA = 0x0001
    SHA1 = 0x0004
    HMAC = 0x0005
    AES = 0x0006
    MGF1 = 0x0007
    KEYEDHASH = 0x0008
    XOR = 0x000A
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D
    NULL = 0x0010
    SM3_256 = 0x0012
    SM4 = 0x0013
    RSASSA = 0x0014
    RSAES = 0x0015
    RSAPSS = 0x0016
    OAEP = 0x0017
    ECDSA = 0x0018
    ECDH = 0x0019
    ECDAA = 0x001A
    SM2 = 0x001B
    ECSCHNORR = 0x001C
    ECMQV = 0x001D
    KDF1_SP800_56A = 0x0020
    KDF2 = 0x0021
    KDF1_SP800_108 = 0x0022
    ECC = 0x0023
    SYMCIPHER = 0x0025
    CAMELLIA = 0x0026
    SHA3_256 = 0x0027
    SHA3_384 = 0x0028
    SHA3_512 = 0x0029
    CTR = 0x0040
    OFB = 0x0041
    CBC = 0x0042
    CFB = 0x0043
    ECB = 0x0044

    @property
    def hash_name(self) -> str:
        """Return the name that ``hashlib`` and tpm2-tools use; ``ValueError`` if this is no hash."""
        name = _HASH_NAMES.get(self)
        if name is None:
            raise ValueError(f"{self.name} is not a hash algorithm")
        return name

    @property
    def is_hash(self) -> bool:
        """Tell whether this names a hash that this package can compute."""
        return self in _HASH_NAMES

    @property
    def digest_size(self) -> int:
        """Return the digest length in bytes; ``ValueError`` if this is no hash."""
        size = _DIGEST_SIZES.get(self)
        if size is None:
            raise ValueError(f"{self.name} is not a hash algorithm")
        return size

    def digest(self, data: bytes) -> bytes:
        """Hash ``data`` with this algorithm; ``ValueError`` if this is no hash."""
        return hashlib.new(self.hash_name, data, usedforsecurity=False).digest()

    @classmethod
    def from_name(cls, name: str) -> Alg:
        """Return the hash called ``sha1``, ``sha256``, …; ``ValueError`` for every other name."""
        for alg, known in _HASH_NAMES.items():
            if known == name:
                return alg
        raise ValueError(f"{name!r} is not a hash algorithm; one of: {', '.join(_HASH_NAMES.values())}")


_HASH_NAMES: Final = {
    Alg.SHA1: "sha1",
    Alg.SHA256: "sha256",
    Alg.SHA384: "sha384",
    Alg.SHA512: "sha512",
    Alg.SHA3_256: "sha3_256",
    Alg.SHA3_384: "sha3_384",
    Alg.SHA3_512: "sha3_512",
}
_DIGEST_SIZES: Final = {
    alg: hashlib.new(name, usedforsecurity=False).digest_size for alg, name in _HASH_NAMES.items()
}


class Curve(IntEnum):
    """TPM_ECC_CURVE (Part 2, 6.4): the curves that this package verifies with."""

    NIST_P256 = 0x0003
    NIST_P384 = 0x0004
    NIST_P521 = 0x0005

    @property
    def coordinate_size(self) -> int:
        """Return the length of one coordinate in bytes."""
        return {Curve.NIST_P256: 32, Curve.NIST_P384: 48, Curve.NIST_P521: 66}[self]


class AttestType(IntEnum):
    """TPM_ST_ATTEST_* (Part 2, 6.9): what a TPMS_ATTEST says."""

    NV = 0x8014
    COMMAND_AUDIT = 0x8015
    SESSION_AUDIT = 0x8016
    CERTIFY = 0x8017
    QUOTE = 0x8018
    TIME = 0x8019
    CREATION = 0x801A
    NV_DIGEST = 0x801C


class Attributes(IntFlag):
    """TPMA_OBJECT (Part 2, 8.3); all other bits are reserved and must be zero."""

    FIXED_TPM = 1 << 1
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    FIRMWARE_LIMITED = 1 << 8
    SVN_LIMITED = 1 << 9
    NO_DA = 1 << 10
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN_ENCRYPT = 1 << 18
    X509_SIGN = 1 << 19


class Hierarchy(IntEnum):
    """TPM_RH of the hierarchies (Part 2, 7.4)."""

    OWNER = 0x40000001
    NULL = 0x40000007
    LOCKOUT = 0x4000000A
    ENDORSEMENT = 0x4000000B
    PLATFORM = 0x4000000C


class Command(IntEnum):
    """TPM_CC (Part 2, 6.5.2): the commands whose code goes into a policy digest, or that are handled raw."""

    STARTUP = 0x00000144
    SHUTDOWN = 0x00000145
    ACTIVATE_CREDENTIAL = 0x00000147
    CERTIFY = 0x00000148
    POLICY_NV = 0x00000149
    POLICY_SECRET = 0x00000151
    QUOTE = 0x00000158
    SIGN = 0x0000015D
    POLICY_SIGNED = 0x00000160
    CONTEXT_LOAD = 0x00000161
    CONTEXT_SAVE = 0x00000162
    FLUSH_CONTEXT = 0x00000165
    POLICY_AUTHORIZE = 0x0000016A
    POLICY_AUTH_VALUE = 0x0000016B
    POLICY_COMMAND_CODE = 0x0000016C
    POLICY_OR = 0x00000171
    GET_CAPABILITY = 0x0000017A
    PCR_READ = 0x0000017E
    POLICY_PCR = 0x0000017F
    PCR_EXTEND = 0x00000182

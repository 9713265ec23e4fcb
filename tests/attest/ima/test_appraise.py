"""Appraisal of measurement lists: the attacks of facts/attest.md 3.2, rows 64 to 72, and others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from attest.errors import AttestInputError, AttestUsageError
from attest.eventlog.log import EventLogError
from attest.eventlog.read import parse
from attest.eventlog.replay import ReplayError, verify_replay
from attest.ima.appraise import AT_ONCE, AppraisedList, appraise_list
from attest.ima.boot_aggregate import boot_aggregates
from attest.ima.entry import entry_of
from attest.ima.file_key import by_key_id, key_id_of
from attest.ima.policy import RuntimePolicy
from tests.attest.ima.build import (
    Made,
    ascii_of,
    binary_of,
    modsig,
    ng,
    old,
    replayed,
    sig,
    v2,
    violation,
    with_bytes,
)
from vtpm.tpm2.constants import Alg

BOOT = {pcr: bytes([pcr]) * 32 for pcr in range(10)}
AGGREGATE = ng("boot_aggregate", b"".join(BOOT.values()))
CAT, DD, SH = (ng(f"/usr/bin/{name}", name.encode()) for name in ("cat", "dd", "sh"))
GOOD = (AGGREGATE, CAT, DD, SH)
KEY = ec.derive_private_key(7, ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def allow(*made: Made) -> frozenset[bytes]:
    entries = (entry_of(each.pcr, each.digest(), each.template, each.data()) for each in made)
    return frozenset(entry.file_digest + b" " + entry.path for entry in entries)


POLICY = RuntimePolicy(allow(CAT, DD, SH))


def quoted(*made: Made, bank: str = "sha256") -> dict[int, bytes]:
    return {**BOOT, 10: replayed(*made, bank=bank)}


def appraise(
    *made: Made, policy: RuntimePolicy = POLICY, pcrs: Mapping[int, bytes] | None = None
) -> AppraisedList:
    both = [
        appraise_list([form(*made)], pcrs or quoted(*made), Alg.SHA256, policy)
        for form in (ascii_of, binary_of)
    ]
    assert both[0] == both[1]
    return both[0]


def codes(*made: Made, policy: RuntimePolicy = POLICY) -> dict[str, int]:
    return dict(appraise(*made, policy=policy).counts)


class TestGood:
    def test_a_list_of_allowed_files(self) -> None:
        found = appraise(*GOOD)
        assert found.is_good
        assert (found.entries, found.beyond, found.excluded, found.is_tied) == (4, 0, 0, True)

    @pytest.mark.parametrize("listed", ["sha1", "sha256", "sha384"])
    def test_any_bank_of_the_list_and_of_the_quote(self, listed: str) -> None:
        made = [ng("boot_aggregate", bank=listed), ng("/usr/bin/cat", b"cat", bank=listed)]
        for name in ("sha1", "sha256", "sha384", "sha512"):
            pcrs = {10: replayed(*made, bank=name)}
            found = appraise_list([ascii_of(*made)], pcrs, Alg.from_name(name), POLICY)
            assert (found.entries, dict(found.counts), found.is_tied) == (2, {}, False)

    def test_the_aggregate_of_an_older_kernel(self) -> None:
        older = ng("boot_aggregate", b"".join(BOOT[pcr] for pcr in range(8)))
        assert codes(older, CAT) == {}

    def test_a_second_aggregate_after_kexec(self) -> None:
        assert codes(AGGREGATE, CAT, AGGREGATE, DD) == {}

    def test_every_template_with_a_file_digest(self) -> None:
        made = (v2("/usr/bin/v"), modsig("/lib/x.ko"), with_bytes("ima-buf", ".ima", b"key"))
        assert codes(AGGREGATE, *made, policy=RuntimePolicy(allow(*made))) == {}


class TestCase64TruncatedReorderedAltered:
    @pytest.mark.parametrize("form", [ascii_of, binary_of])
    def test_refused(self, form: object) -> None:
        assert callable(form)
        for made in (GOOD[:3], (AGGREGATE, DD, CAT, SH), (AGGREGATE, CAT, CAT, DD, SH), GOOD[1:]):
            with pytest.raises(ReplayError):
                appraise_list([form(*made)], quoted(*GOOD), Alg.SHA256, POLICY)

    def test_one_digest_altered(self) -> None:
        wrong = ng("/usr/bin/cat", b"cat", stated=b"\1" * 20)
        with pytest.raises(ReplayError) as caught:
            appraise(AGGREGATE, wrong, DD, SH, pcrs=quoted(*GOOD))
        assert caught.value.code == "data-mismatch"
        assert "entry 1" in str(caught.value)

    def test_one_name_altered_though_the_digests_replay(self) -> None:
        """In a SHA-1 list against a SHA-1 quote only the recomputed template digest shows it."""
        renamed = ng("/usr/bin/su", b"cat", stated=CAT.digest())
        pcrs = {10: replayed(*GOOD, bank="sha1")}
        with pytest.raises(ReplayError) as caught:
            appraise_list([binary_of(AGGREGATE, renamed, DD, SH)], pcrs, Alg.SHA1, POLICY)
        assert caught.value.code == "data-mismatch"
        with pytest.raises(ReplayError) as caught:
            verify_replay(parse(binary_of(AGGREGATE, renamed, DD, SH)), pcrs, Alg.SHA1)
        assert caught.value.code == "data-mismatch"

    def test_an_altered_list_gives_no_findings(self) -> None:
        with pytest.raises(ReplayError):
            appraise(AGGREGATE, ng("/tmp/evil"), pcrs=quoted(*GOOD))


class TestLongLists:
    """Entries are hashed some at once; wherever a group ends, the rules hold."""

    FILES = tuple(ng(f"/usr/bin/f{number}", str(number).encode()) for number in range(3 * AT_ONCE))
    POLICY = RuntimePolicy(allow(*FILES))

    @pytest.mark.parametrize("entries", [1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE, 3 * AT_ONCE])
    def test_what_stands_behind_the_quoted_entry_is_counted_and_not_used(self, entries: int) -> None:
        made = [AGGREGATE, *self.FILES]
        pcrs = quoted(*made[:entries])
        evil = [ng("/tmp/evil"), violation("/tmp/v"), ng("/tmp/altered", stated=b"\1" * 20)]
        found = appraise(*made[:entries], *evil, *made[entries:], policy=self.POLICY, pcrs=pcrs)
        assert (found.entries, found.beyond) == (entries, len(made) - entries + len(evil))
        assert dict(found.counts) == {}

    @pytest.mark.parametrize("at", [AT_ONCE - 1, AT_ONCE, 2 * AT_ONCE + 7])
    def test_a_wrong_entry_is_found_by_its_place(self, at: int) -> None:
        made = [AGGREGATE, *self.FILES]
        renamed = ng("/usr/bin/su", b"x", stated=made[at].digest())
        pcrs = {10: replayed(*made, bank="sha1")}
        with pytest.raises(ReplayError, match=f"entry {at} was altered"):
            appraise_list([binary_of(*made[:at], renamed, *made[at + 1 :])], pcrs, Alg.SHA1, self.POLICY)
        made[at] = ng("/tmp/evil")
        found = appraise(*made, policy=self.POLICY)
        assert [(one.code, one.index) for one in found.findings] == [("ima-not-allowed", at)]


class TestCase66OtherPcrAndTemplates:
    def test_an_entry_for_another_pcr_is_never_skipped(self) -> None:
        other = ng("/usr/bin/cat", b"cat", pcr=11)
        assert codes(AGGREGATE, other, CAT) == {"ima-other-pcr": 1}

    def test_an_unknown_template_is_refused(self) -> None:
        unknown = Made("ima-next", CAT.values, CAT.shown)
        with pytest.raises(EventLogError) as caught:
            appraise(AGGREGATE, unknown)
        assert caught.value.code == "template"

    def test_a_template_without_a_file_digest_is_not_allowed(self) -> None:
        named = Made("n-ng", (b"/usr/bin/cat\0",), ("/usr/bin/cat",))
        assert codes(AGGREGATE, named) == {"ima-algorithm": 1}

    def test_a_name_that_spells_out_an_allowed_file_is_not_allowed(self) -> None:
        """The binary list keeps blanks in names; digest and name are compared as one text."""
        (known,) = allow(CAT)
        named = Made("n-ng", (known + b"\0",), (known.decode(),))
        blank = ng(" " + known.decode())
        made = (AGGREGATE, named, blank)
        found = appraise_list([binary_of(*made)], quoted(*made), Alg.SHA256, POLICY)
        assert dict(found.counts) == {"ima-algorithm": 1, "ima-not-allowed": 1}

    def test_a_verity_digest_is_no_file_digest(self) -> None:
        policy = RuntimePolicy(allow(v2("/usr/bin/v", kind="ima")))
        assert codes(AGGREGATE, v2("/usr/bin/v", kind="verity"), policy=policy) == {"ima-digest-differs": 1}


class TestCase67Algorithms:
    def test_a_name_that_does_not_match_the_length(self) -> None:
        short = Made("ima-ng", (b"sha512:\0" + bytes(32), b"/a\0"), ("sha512:" + "0" * 64, "/a"))
        with pytest.raises(EventLogError) as caught:
            appraise(AGGREGATE, short)
        assert caught.value.code == "algorithm"

    @pytest.mark.parametrize("made", [old("/usr/bin/old"), ng("/usr/bin/md", name="md5")])
    def test_an_algorithm_that_the_policy_does_not_have(self, made: Made) -> None:
        assert codes(AGGREGATE, made) == {"ima-algorithm": 1}


class TestCase69Excluded:
    def test_excluded_entries_are_counted(self) -> None:
        policy = RuntimePolicy(POLICY.allowed, excluded=(b"/opt/vendor/",))
        found = appraise(AGGREGATE, CAT, ng("/opt/vendor/a"), ng("/opt/vendor/b"), policy=policy)
        assert (found.excluded, dict(found.counts)) == (2, {})

    @pytest.mark.parametrize(
        "path", ["/opt/vendor", "/opt/vendor/../../x", "/opt/vendor//x", "/opt/vendors/x"]
    )
    def test_no_alias_of_an_excluded_folder(self, path: str) -> None:
        policy = RuntimePolicy(POLICY.allowed, excluded=(b"/opt/vendor/",))
        assert codes(AGGREGATE, ng(path), policy=policy) == {"ima-not-allowed": 1}

    @pytest.mark.parametrize(
        "folder", ["/", "/tmp/", "/var/", "/var/tmp/x/", "/home/me/", "/run/x/", "/dev/"]
    )
    def test_a_folder_that_others_can_write_to_is_refused(self, folder: str) -> None:
        with pytest.raises(AttestUsageError) as caught:
            RuntimePolicy(frozenset(), excluded=(folder.encode(),))
        assert caught.value.code == "excluded-writable"

    @pytest.mark.parametrize("folder", ["", "opt/", "/opt", "/opt/../tmp/", "//opt/", ".*/"])
    def test_only_whole_folders_can_be_excluded(self, folder: str) -> None:
        with pytest.raises(AttestUsageError):
            RuntimePolicy(frozenset(), excluded=(folder.encode(),))

    def test_an_alias_of_a_good_path_in_another_namespace(self) -> None:
        alias = ng("/usr/bin/cat", b"evil")
        assert codes(AGGREGATE, alias) == {"ima-digest-differs": 1}
        assert codes(AGGREGATE, ng("/overlay/usr/bin/cat", b"cat")) == {"ima-not-allowed": 1}


def signed(made: Made, *, key: object = KEY, version: int = 2, kind: int = 3, number: int = 4) -> bytes:
    content = made.values[0].rpartition(b":\0")[2]
    message = hashlib.sha256(bytes((kind, number)) + content).digest() if version == 3 else content
    if isinstance(key, rsa.RSAPrivateKey):
        value = key.sign(message, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
        public: object = key.public_key()
    else:
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        value, public = key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256()))), key.public_key()
    assert isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    head = bytes((kind, version, number)) + key_id_of(public) + len(value).to_bytes(2, "big")
    return head + value


class TestCase70Signatures:
    KEYS = RuntimePolicy(POLICY.allowed, keys=by_key_id(KEY.public_key(), RSA_KEY.public_key()))
    NEW = ng("/usr/bin/new", b"new")

    def judged(self, raw: bytes, policy: RuntimePolicy | None = None) -> dict[str, int]:
        return codes(AGGREGATE, sig("/usr/bin/new", raw, b"new"), policy=policy or self.KEYS)

    @pytest.mark.parametrize("key", [KEY, RSA_KEY], ids=["ec", "rsa"])
    @pytest.mark.parametrize("version", [2, 3])
    def test_a_file_signed_by_a_trusted_key(self, key: object, version: int) -> None:
        assert self.judged(signed(self.NEW, key=key, version=version)) == {}

    def test_a_verity_file_signed_by_a_trusted_key(self) -> None:
        plain = v2("/usr/bin/v", kind="verity")
        raw = signed(plain, version=3, kind=6)
        made = Made("ima-sigv2", (*plain.values, raw), (*plain.shown, raw.hex()))
        assert codes(AGGREGATE, made, policy=self.KEYS) == {}

    def test_an_unknown_key(self) -> None:
        stranger = ec.derive_private_key(8, ec.SECP256R1())
        assert self.judged(signed(self.NEW, key=stranger)) == {"ima-signature-key-unknown": 1}

    def test_no_key_is_learned_from_the_list(self) -> None:
        stranger = ec.derive_private_key(8, ec.SECP256R1())
        learned = with_bytes("ima-buf", ".ima", b"certificate of the stranger")
        made = (AGGREGATE, learned, sig("/usr/bin/new", signed(self.NEW, key=stranger), b"new"))
        assert codes(*made, policy=self.KEYS) == {"ima-not-allowed": 1, "ima-signature-key-unknown": 1}

    def test_the_content_of_a_keyring_is_allowed_by_its_digest_only(self) -> None:
        policy = RuntimePolicy(allow(with_bytes("ima-buf", ".ima", b"k", b"known")))
        assert codes(AGGREGATE, with_bytes("ima-buf", ".ima", b"o", b"other"), policy=policy) == {
            "ima-digest-differs": 1
        }

    def test_a_signature_of_another_file(self) -> None:
        assert self.judged(signed(CAT)) == {"ima-signature-invalid": 1}
        assert self.judged(signed(self.NEW)[:-1] + b"\0") == {"ima-signature-invalid": 1}

    def test_a_signature_over_another_algorithm(self) -> None:
        assert self.judged(signed(self.NEW, number=2)) == {"ima-signature-algorithm": 1}
        assert self.judged(signed(self.NEW, number=6)) == {"ima-signature-algorithm": 1}
        assert self.judged(signed(self.NEW, version=3, kind=6)) == {"ima-signature-algorithm": 1}

    @pytest.mark.parametrize("raw", [b"\x03", b"\x03\x02\x04keyi\x00\x01", b"\x03\x02\x04keyi\x00\x05ab"])
    def test_a_malformed_signature(self, raw: bytes) -> None:
        assert self.judged(raw) == {"ima-signature-malformed": 1}
        assert self.judged(b"\x01" + signed(self.NEW)[1:]) == {"ima-signature-malformed": 1}

    def test_without_keys_a_signature_admits_nothing(self) -> None:
        assert self.judged(signed(self.NEW), POLICY) == {"ima-not-allowed": 1}


class TestCase72TailBeyondTheQuote:
    def test_only_entries_up_to_the_matching_one_are_proved(self) -> None:
        evil = ng("/tmp/evil")
        found = appraise(*GOOD, evil, evil, pcrs=quoted(*GOOD))
        assert (found.entries, found.beyond, dict(found.counts)) == (4, 2, {})
        log = parse(ascii_of(*GOOD, evil))
        proved = verify_replay(log, {10: replayed(*GOOD)}, Alg.SHA256)
        assert [event.index for event in proved.events] == [0, 1, 2, 3]
        assert proved.beyond == 1

    def test_a_forged_tail_is_no_evidence(self) -> None:
        proved = verify_replay(parse(binary_of(AGGREGATE, CAT)), {10: replayed(AGGREGATE)}, Alg.SHA256)
        assert b"cat" not in b"".join(event.untrusted_data for event in proved.events)

    def test_a_list_of_which_nothing_is_proved(self) -> None:
        with pytest.raises(ReplayError):
            verify_replay(parse(ascii_of(*GOOD)), {10: bytes(32)}, Alg.SHA256)
        with pytest.raises(ReplayError):
            appraise(*GOOD, pcrs={**BOOT, 10: bytes(32)})

    def test_several_pcrs_must_match_at_one_entry(self) -> None:
        other = ng("/usr/bin/x", pcr=11)
        log = parse(ascii_of(AGGREGATE, other, CAT))
        pcrs = {10: replayed(AGGREGATE, CAT), 11: replayed(other, pcr=11), 16: bytes(32)}
        assert len(verify_replay(log, pcrs, Alg.SHA256).events) == 3
        for wrong in ({**pcrs, 11: bytes(32)}, {**pcrs, 16: b"\1" * 32}):
            with pytest.raises(ReplayError):
                verify_replay(log, wrong, Alg.SHA256)
        before = {10: replayed(AGGREGATE), 11: bytes(32)}
        assert verify_replay(log, before, Alg.SHA256).beyond == 2


class TestViolations:
    def test_found_unless_the_policy_admits_them(self) -> None:
        assert codes(AGGREGATE, violation("/var/log/syslog"), CAT) == {"ima-violation": 1}
        policy = RuntimePolicy(POLICY.allowed, admit_violations=True)
        assert codes(AGGREGATE, violation("/var/log/syslog"), CAT, policy=policy) == {}

    def test_their_names_are_not_bound_and_admit_nothing(self) -> None:
        """A violation says any path and digest that it likes: its template digest is zeros."""
        forged = Made("ima-ng", CAT.values, CAT.shown, violation=True)
        policy = RuntimePolicy(POLICY.allowed, excluded=(b"/usr/bin/",))
        assert codes(AGGREGATE, forged, policy=policy) == {"ima-violation": 1}

    def test_a_violation_that_hides_an_entry_does_not_replay(self) -> None:
        evil = ng("/tmp/evil")
        hidden = Made("ima-ng", evil.values, evil.shown, violation=True)
        with pytest.raises(ReplayError):
            appraise(AGGREGATE, hidden, CAT, pcrs=quoted(AGGREGATE, evil, CAT))


class TestBootAggregate:
    def test_of_another_boot(self) -> None:
        assert codes(ng("boot_aggregate", b"other"), CAT) == {"ima-boot-aggregate": 1}

    def test_missing(self) -> None:
        assert codes(CAT, DD) == {"ima-boot-aggregate-missing": 1}
        assert codes(violation("boot_aggregate"), CAT) == {"ima-boot-aggregate-missing": 1}

    def test_a_file_of_that_name_is_a_file(self) -> None:
        forged = ng("boot_aggregate", b"evil")
        assert codes(AGGREGATE, forged) == {"ima-not-allowed": 1}
        found = appraise_list([ascii_of(forged, forged)], {10: replayed(forged, forged)}, Alg.SHA256, POLICY)
        assert (found.is_tied, dict(found.counts)) == (False, {"ima-not-allowed": 1})

    def test_of_pcrs_that_are_not_quoted_it_is_not_tied(self) -> None:
        found = appraise(*GOOD, pcrs={10: replayed(*GOOD)})
        assert (found.is_tied, dict(found.counts)) == (False, {})

    def test_rules(self) -> None:
        values = {pcr: bytes([pcr]) * 20 for pcr in range(10)}
        (sha1,) = boot_aggregates(Alg.SHA1, values)
        assert sha1 == hashlib.sha1(b"".join(values[pcr] for pcr in range(8))).digest()
        new, older = boot_aggregates(Alg.SHA256, BOOT)
        assert new == hashlib.sha256(b"".join(BOOT.values())).digest()
        assert older == hashlib.sha256(b"".join(list(BOOT.values())[:8])).digest()


class TestOldKernels:
    def test_sha1_digests_that_are_filled_up_prove_no_more_than_sha1(self) -> None:
        value = bytes(32)
        for made in (AGGREGATE, CAT):
            value = hashlib.sha256(value + made.digest().ljust(32, b"\0")).digest()
        for raw in (ascii_of(AGGREGATE, CAT), binary_of(AGGREGATE, CAT)):
            with pytest.raises(ReplayError) as caught:
                verify_replay(parse(raw), {10: value}, Alg.SHA256)
            assert caught.value.code == "ima-padded"
            with pytest.raises(ReplayError):
                appraise_list([raw], {10: value}, Alg.SHA256, POLICY)


@pytest.mark.parametrize("alg", [Alg.SHA1, Alg.SHA384])
def test_a_pcr_that_is_not_quoted(alg: Alg) -> None:
    with pytest.raises(ReplayError) as caught:
        appraise_list([ascii_of(*GOOD)], BOOT, alg, POLICY)
    assert caught.value.code == "bank"
    with pytest.raises(AttestInputError):
        appraise_list([], quoted(*GOOD), Alg.SHA256, POLICY)


def test_findings_are_bounded_and_counted() -> None:
    made = [ng(f"/tmp/{number}") for number in range(300)]
    found = appraise(AGGREGATE, *made)
    assert (len(found.findings), found.counts["ima-not-allowed"]) == (256, 300)
    assert found.findings[0].index == 1
    assert "/tmp/0" in found.findings[0].detail

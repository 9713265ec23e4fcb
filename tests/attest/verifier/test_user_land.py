"""Dom0's user land: what its measurement list says, against the reference values.

The numbers are rows of facts/attest.md 3.2.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from attest.attester import attest
from attest.result import Verdict
from attest.verifier import dom0, steps
from tests.attest.ima.build import Made, evm, modsig, ng, old, sig, v2, violation, with_bytes
from tests.attest.verifier.user_land import dom0_is, notes, refused, shown
from tests.simulators.host import EMBEDDED, NONCE, Host, codes
from tests.simulators.user_land import PROGRAMS, USER_LAND, MeasuringHost, files_of

BAD, OPEN = Verdict.CONTRAINDICATED, Verdict.INCONCLUSIVE


@pytest.fixture
def host() -> MeasuringHost:
    return MeasuringHost.running()


def test_a_good_user_land_is_affirmed(host: MeasuringHost) -> None:
    result = host.verify(host.evidence().encode())
    assert (result.verdict, codes(result)) == (Verdict.AFFIRMING, [])
    assert notes(result) == ("measurement list: 5 entries proved",)


class TestUnknownPrograms:
    @pytest.mark.parametrize("path", ["/usr/bin/nc", "/run/nc", "/tmp/.x/nc", "/dev/shm/nc", "/memfd:nc"])
    def test_a_program_that_the_reference_does_not_know(self, host: MeasuringHost, path: str) -> None:
        host.execute(path, b"netcat")
        [detail] = dom0_is(host.verify(), BAD, "ima-not-allowed")
        assert repr(path) in detail
        assert hashlib.sha256(b"netcat").hexdigest() in detail

    def test_a_known_path_with_other_content(self, host: MeasuringHost) -> None:
        host.execute("/usr/sbin/xl", b"xl with a back door")
        [detail] = dom0_is(host.verify(), BAD, "ima-digest-differs")
        assert "'/usr/sbin/xl'" in detail

    def test_69_a_known_content_under_another_path(self, host: MeasuringHost) -> None:
        host.execute("/run/xl", PROGRAMS["/usr/sbin/xl"])
        dom0_is(host.verify(), BAD, "ima-not-allowed")

    def test_a_content_that_may_lie_anywhere(self, host: MeasuringHost) -> None:
        host.files = files_of(PROGRAMS, b"busybox")
        host.execute("/newroot/bin/busybox", b"busybox")
        assert host.verify().verdict is Verdict.AFFIRMING
        host.execute("/newroot/bin/busybox", b"busybox!")
        dom0_is(host.verify(), BAD, "ima-not-allowed")

    def test_a_path_that_looks_like_another(self, host: MeasuringHost) -> None:
        host.execute("/usr/sbin/../sbin/xl", PROGRAMS["/usr/sbin/xl"])
        host.execute("/usr/sbin/xl\u200b", PROGRAMS["/usr/sbin/xl"])
        [detail] = dom0_is(host.verify(), BAD, "ima-not-allowed")
        assert detail.isascii()

    def test_several_are_named_and_all_are_counted(self, host: MeasuringHost) -> None:
        for number in range(300):
            host.execute(f"/run/{number}", b"x")
        host.execute("/init", b"other")
        details = dom0_is(host.verify(), BAD, "ima-not-allowed", "ima-digest-differs")
        assert details[0].endswith("; 297 more")
        assert details[1] == "1 entries"

    def test_a_very_long_path_is_cut(self, host: MeasuringHost) -> None:
        host.execute("/" + "é" * 100_000, b"x")
        [detail] = dom0_is(host.verify(), BAD, "ima-not-allowed")
        assert len(detail) < 1000

    @pytest.mark.parametrize("check", [dom0.user_land], ids=["user_land"])
    def test_without_its_check_it_would_pass(
        self, host: MeasuringHost, check: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.execute("/run/nc", b"netcat")
        monkeypatch.setattr(steps, "DOM0", tuple(one for one in steps.DOM0 if one is not check))
        assert host.verify().verdict is Verdict.AFFIRMING


class TestRow66EntriesOfOtherKinds:
    def test_an_entry_for_another_pcr(self, host: MeasuringHost) -> None:
        host.listed(ng("/run/nc", b"netcat", pcr=11))
        host.execute("/usr/sbin/xl", b"xl")
        [detail] = dom0_is(host.verify(), BAD, "ima-other-pcr")
        assert "for PCR 11" in detail

    @pytest.mark.parametrize(
        "made",
        [
            sig("/run/nc", b"\x03\x02\x04keyid\x00\x01s"),
            sig("/run/nc", b""),
            v2("/run/nc"),
            v2("/run/nc", template="ima-sigv2"),
            modsig("/run/nc"),
            evm("/run/nc"),
            with_bytes("ima-buf", "kexec-cmdline", b"quiet"),
        ],
        ids=lambda made: made.template,
    )
    def test_no_template_is_skipped(self, host: MeasuringHost, made: Made) -> None:
        host.listed(made)
        dom0_is(host.verify(), BAD, "ima-not-allowed")

    def test_a_known_file_is_known_by_every_template(self, host: MeasuringHost) -> None:
        host.listed(sig("/usr/sbin/xl", b"\x03\x02\x04", b"xl"))
        assert host.verify().verdict is Verdict.AFFIRMING

    @pytest.mark.parametrize("made", [old("/usr/sbin/xl", b"xl"), ng("/usr/sbin/xl", b"xl", name="md5")])
    def test_67_a_weak_digest(self, host: MeasuringHost, made: Made) -> None:
        host.listed(made)
        dom0_is(host.verify(), BAD, "ima-algorithm")

    def test_a_template_that_nobody_knows(self, host: MeasuringHost) -> None:
        known = host.ima[-1]
        host.listed(replace(known, template="ima-new"))
        refused(host.verify(), "ima-list-malformed")

    def test_70_a_signature_admits_nothing(self, host: MeasuringHost) -> None:
        host.listed(sig("/run/nc", b"\x03\x02\x04keyid\x00\x01s", b"netcat"))
        dom0_is(host.verify(), BAD, "ima-not-allowed")

    def test_a_violation(self, host: MeasuringHost) -> None:
        host.listed(violation("/usr/sbin/xl"))
        [detail] = dom0_is(host.verify(), BAD, "ima-violation")
        assert "listed as '/usr/sbin/xl'" in detail


class TestMissingLists:
    def test_left_out(self, host: MeasuringHost) -> None:
        dom0_is(host.verify(shown(host.evidence(), None)), OPEN, "ima-list-missing")

    def test_empty_although_something_was_measured(self, host: MeasuringHost) -> None:
        refused(host.verify(shown(host.evidence(), b"")), "ima-list-malformed")

    @pytest.mark.parametrize("raw", [b"", None])
    def test_pcr_10_zero_with_an_empty_list(self, raw: bytes | None) -> None:
        host = MeasuringHost.serving(profile=USER_LAND)
        [detail] = dom0_is(host.verify(shown(host.evidence(), raw)), OPEN, "not-measured")
        assert "PCR 10" in detail

    def test_pcr_10_zero_with_a_list_that_was_never_measured(self, host: MeasuringHost) -> None:
        bare = MeasuringHost.serving(profile=USER_LAND)
        refused(bare.verify(shown(bare.evidence(), host.ima_log())), "ima-list-mismatch")

    def test_28_pcr_10_is_not_quoted_although_the_profile_demands_it(self) -> None:
        host = Host.serving(profile=USER_LAND)
        refused(host.verify(), "pcr-missing")

    def test_a_list_that_no_quote_proves_is_not_used(self, host: MeasuringHost) -> None:
        """The profile asks for nothing, the reference values do; the quote leaves out PCR 10."""
        logs = replace(host.logs(), ima=None)
        bare = attest(NONCE, host.name, host.tpm, list(host.domains.values()), logs)
        result = host.verify(shown(bare, host.ima_log()), profile=EMBEDDED)
        [detail] = dom0_is(result, OPEN, "ima-list-missing")
        assert "not quoted" in detail

    @pytest.mark.parametrize("check", [dom0.list_shown, dom0.files_known])
    def test_without_its_check_it_would_pass(
        self, host: MeasuringHost, check: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        evidence = host.evidence()
        if check is dom0.list_shown:
            evidence = shown(evidence, None)
        else:
            host.files = None
        assert host.verify(evidence).verdict is OPEN
        monkeypatch.setattr(steps, "DOM0", tuple(one for one in steps.DOM0 if one is not check))
        assert host.verify(evidence).verdict is Verdict.AFFIRMING


class TestRow60WhatIsCompared:
    def test_a_profile_that_demands_the_list_needs_files(self, host: MeasuringHost) -> None:
        host.files = None
        [detail] = dom0_is(host.verify(), OPEN, "reference-empty")
        assert "user land" in detail

    def test_files_that_nobody_demands_are_compared_all_the_same(self, host: MeasuringHost) -> None:
        host.profile = EMBEDDED
        assert host.verify().verdict is Verdict.AFFIRMING
        host.execute("/run/nc", b"netcat")
        dom0_is(host.verify(), BAD, "ima-not-allowed")

    def test_no_files_admit_nothing(self, host: MeasuringHost) -> None:
        host.files = files_of({})
        dom0_is(host.verify(), BAD, "ima-not-allowed")

    def test_where_nobody_asks_the_result_says_so(self, host: MeasuringHost) -> None:
        host.profile, host.files = EMBEDDED, None
        host.execute("/run/nc", b"netcat")
        result = host.verify()
        assert result.verdict is Verdict.AFFIRMING
        assert notes(result) == ("user land not evaluated: nobody asked for PCR 10",)


def test_a_hundred_thousand_entries() -> None:
    """Within the bounds of evidence; tests assert no times, and the memory is that of the list."""
    programs = {f"/usr/lib/python3/dist-packages/package/module{i}.so": b"%d" % i for i in range(100_000)}
    host = MeasuringHost.running(programs)
    host.files = files_of(programs)
    evidence = host.evidence().encode()
    result = host.verify(evidence)
    assert result.verdict is Verdict.AFFIRMING
    assert notes(result) == ("measurement list: 100001 entries proved",)

"""Dom0's measurement list against PCR 10: which list of which boot, and how much of it, is proved.

The numbers are rows of facts/attest.md 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from attest.attester import attest
from attest.errors import AttestInputError
from attest.result import Verdict
from attest.verifier import dom0, steps
from tests.attest.ima.build import AGGREGATE, Made, binary_of, ng
from tests.attest.verifier.user_land import dom0_is, notes, refused, shown
from tests.simulators.host import NONCE, Tpm, codes
from tests.simulators.user_land import PROGRAMS, USER_LAND, MeasuringHost
from vtpm.tpm2.pcrs import PcrSelection

BAD, OPEN = Verdict.CONTRAINDICATED, Verdict.INCONCLUSIVE


@pytest.fixture
def host() -> MeasuringHost:
    return MeasuringHost.running()


class TestRow64ListsThatDoNotReplay:
    def test_truncated(self, host: MeasuringHost) -> None:
        host.execute("/run/nc", b"netcat")
        refused(host.verify(shown(host.evidence(), binary_of(*host.ima[:-1]))), "ima-list-mismatch")

    @pytest.mark.parametrize("cut", [1, 30, 60])
    def test_cut_in_an_entry(self, host: MeasuringHost, cut: int) -> None:
        refused(host.verify(shown(host.evidence(), host.ima_log()[:-cut])), "ima-list-malformed")

    def test_reordered(self, host: MeasuringHost) -> None:
        first, one, two, *rest = host.ima
        log = binary_of(first, two, one, *rest)
        refused(host.verify(shown(host.evidence(), log)), "ima-list-mismatch")

    def test_the_first_entry_left_out(self, host: MeasuringHost) -> None:
        refused(host.verify(shown(host.evidence(), binary_of(*host.ima[1:]))), "ima-list-mismatch")

    def test_an_unknown_program_left_out(self, host: MeasuringHost) -> None:
        host.execute("/run/nc", b"netcat")
        host.execute("/usr/sbin/xl", b"xl")
        log = binary_of(*(made for made in host.ima if b"/run/nc" not in made.data()))
        refused(host.verify(shown(host.evidence(), log)), "ima-list-mismatch")

    def test_an_entry_renamed_with_its_digest_kept(self, host: MeasuringHost) -> None:
        host.execute("/run/nc", b"netcat")
        log = host.ima_log().replace(b"/run/nc\0", b"/run/xl\0")
        refused(host.verify(shown(host.evidence(), log)), "ima-list-mismatch")

    def test_an_entry_renamed_with_a_digest_that_fits(self, host: MeasuringHost) -> None:
        host.execute("/run/nc", b"netcat")
        log = binary_of(*host.ima[:-1], ng("/usr/sbin/xl", b"xl"))
        refused(host.verify(shown(host.evidence(), log)), "ima-list-mismatch")

    def test_one_digest_altered(self, host: MeasuringHost) -> None:
        raw = bytearray(host.ima_log())
        raw[5] ^= 1
        refused(host.verify(shown(host.evidence(), bytes(raw))), "ima-list-mismatch")

    def test_an_entry_hidden_as_a_violation(self, host: MeasuringHost) -> None:
        host.execute("/run/nc", b"netcat")
        nc = host.ima[-1]
        hidden = Made("ima-ng", nc.values, nc.shown, violation=True)
        refused(host.verify(shown(host.evidence(), binary_of(*host.ima[:-1], hidden))), "ima-list-mismatch")

    def test_the_list_of_another_host(self, host: MeasuringHost) -> None:
        other = MeasuringHost.running({"/init": b"busybox"})
        refused(host.verify(shown(host.evidence(), other.ima_log())), "ima-list-mismatch")

    @pytest.mark.parametrize("raw", [b"\0", b"{}", b"\xff" * 99, b"\0" * 4096], ids=range(4))
    def test_what_is_no_list(self, host: MeasuringHost, raw: bytes) -> None:
        refused(host.verify(shown(host.evidence(), raw)), "ima-list-malformed")


class TestListsOfAnotherBoot:
    def test_the_list_of_an_earlier_boot(self) -> None:
        """The host rebooted; it shows the good list of before, and quotes what it is now."""
        before = MeasuringHost.running()
        now = MeasuringHost.running({**PROGRAMS, "/run/nc": b"netcat"})
        refused(now.verify(shown(now.evidence(), before.ima_log())), "ima-list-mismatch")

    def test_the_old_list_extended_again_after_a_boot_of_something_else(self) -> None:
        """PCR 10 says what the good list says, PCR 0-9 do not: the list begins with another boot."""
        before = MeasuringHost.running()
        now = MeasuringHost.serving(profile=USER_LAND, boot=before.boot.replaced(b"initrd", b"evil"))
        assert isinstance(now, MeasuringHost)
        now.listed(*before.ima)
        found = codes(now.verify())
        assert found == ["dom0-not-in-reference", "ima-boot-aggregate"]

    def test_a_boot_aggregate_of_other_pcrs(self) -> None:
        host = MeasuringHost.serving(profile=USER_LAND)
        assert isinstance(host, MeasuringHost)
        host.listed(AGGREGATE)
        dom0_is(host.verify(), BAD, "ima-boot-aggregate")

    def test_no_boot_aggregate(self) -> None:
        host = MeasuringHost.serving(profile=USER_LAND)
        assert isinstance(host, MeasuringHost)
        host.execute("/init", b"busybox")
        dom0_is(host.verify(), BAD, "ima-boot-aggregate-missing")

    def test_a_boot_aggregate_of_a_bank_that_is_not_quoted(self) -> None:
        host = MeasuringHost.serving(profile=USER_LAND)
        assert isinstance(host, MeasuringHost)
        host.listed(ng("boot_aggregate", b"", name="sha1"))
        dom0_is(host.verify(), OPEN, "ima-boot-aggregate-open")

    def test_without_its_check_it_would_pass(self, monkeypatch: pytest.MonkeyPatch) -> None:
        host = MeasuringHost.serving(profile=USER_LAND)
        assert isinstance(host, MeasuringHost)
        host.listed(AGGREGATE)
        monkeypatch.setattr(steps, "DOM0", tuple(one for one in steps.DOM0 if one is not dom0.list_tied))
        assert host.verify().verdict is Verdict.AFFIRMING


class TestRow72TailBeyondTheQuote:
    def test_it_is_not_used_against_the_host(self, host: MeasuringHost) -> None:
        evidence = host.evidence()
        host.execute("/run/nc", b"netcat")
        result = host.verify(shown(evidence, host.ima_log()))
        assert result.verdict is Verdict.AFFIRMING
        assert notes(result) == ("measurement list: 5 entries proved, 1 behind the quote not used",)

    def test_it_is_not_used_for_the_host(self) -> None:
        """A boot_aggregate that is proved by nobody ties no list."""
        bare = MeasuringHost.serving(profile=USER_LAND)
        assert isinstance(bare, MeasuringHost)
        bare.listed(ng("boot_aggregate", b"", name="sha1"))
        tail = ng("boot_aggregate", b"".join(bare.tpm.pcrs[:10]))
        dom0_is(
            bare.verify(shown(bare.evidence(), binary_of(*bare.ima, tail))), OPEN, "ima-boot-aggregate-open"
        )

    def test_it_must_still_be_a_list(self, host: MeasuringHost) -> None:
        tail = host.ima_log() + b"\0" * 100
        refused(host.verify(shown(host.evidence(), tail)), "ima-list-malformed")


class MovingTpm(Tpm):
    """A TPM whose PCR 10 goes on while it is used: ``moves`` times before each reading."""

    host: MeasuringHost
    moves: list[int]

    def pcr_read(self, selection: PcrSelection) -> Sequence[bytes]:
        for _ in range(self.moves.pop() if self.moves else 0):
            self.host.execute("/usr/sbin/xl", b"xl")
        return super().pcr_read(selection)


class TestRow73ListsThatGrow:
    def moving(self, moves: list[int]) -> MeasuringHost:
        tpm = MovingTpm("host ak")
        host = MeasuringHost.running(tpm=tpm)
        tpm.host, tpm.moves = host, moves
        return host

    def test_between_the_quote_and_the_reading_of_the_list(self, host: MeasuringHost) -> None:
        def late() -> bytes:
            for _ in range(10):
                host.execute("/run/nc", b"netcat")
            return host.ima_log()

        logs = replace(host.logs(), ima=late)
        evidence = attest(NONCE, host.name, host.tpm, list(host.domains.values()), logs)
        assert host.verify(evidence).verdict is Verdict.AFFIRMING

    def test_for_a_while(self) -> None:
        assert self.moving([3, 1]).verify().verdict is Verdict.AFFIRMING

    def test_for_ever_no_evidence_is_made(self) -> None:
        with pytest.raises(AttestInputError) as caught:
            self.moving([1] * 99).evidence()
        assert caught.value.code == "pcrs-moving"

    def test_beyond_what_evidence_holds(self, host: MeasuringHost) -> None:
        logs = replace(host.logs(), ima=lambda: bytes(24 * 1024 * 1024 + 1))
        with pytest.raises(AttestInputError) as caught:
            attest(NONCE, host.name, host.tpm, [], logs)
        assert caught.value.code == "ima-log-size"

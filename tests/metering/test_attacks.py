"""One test for each attack or fault of facts/metering.md, section 3, that is answered (the number is its).

``caught`` asserts more than the verdict: that exactly one violation is found, by exactly the check named.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attest.result import Verdict
from metering.audit import CHECKS
from metering.case import Trust
from metering.checkpoint import Checkpoint, Note, NoteSignature, signed
from metering.key import MeterKeyBundle, policy
from metering.log import digest
from metering.merkle import root_of
from metering.record import COUNTERS, SALT_BYTES, Flag, Kind, MeterRecord, Record, UsageRecord
from metering.verdict import AuditResult, Code, Finding, Unproved
from metering.view import View
from tests.metering.world import (
    GOOD_STATE,
    METER_ATTRIBUTES,
    ORIGIN,
    OTHER_STATE,
    PERIOD,
    Files,
    Platform,
    Site,
    TpmKey,
    records,
    relink,
)
from vtpm.tpm2.constants import Attributes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metering.register import Reading

SECOND = 1_000_000_000


def caught(files: Files, by: str, code: Code, **terms: Any) -> Finding:
    """Assert that one violation is found, and that the audit is satisfied without the check that finds it."""
    result = files.audit(**terms)
    assert [one.code for one in result.violations] == [code], result.violations
    assert result.verdict is code.verdict
    blind = files.audit(without=by, **terms)
    assert blind.verdict is Verdict.AFFIRMING, blind.violations
    return result.violations[0]


def fine(result: AuditResult, *gaps: str) -> AuditResult:
    assert result.verdict is Verdict.AFFIRMING, result.violations or result.open
    assert len(result.gaps) == len(gaps)
    for gap, word in zip(result.gaps, gaps, strict=True):
        assert word in gap.detail
    return result


def codes(files: Files, **terms: Any) -> set[Code]:
    return {one.code for one in files.audit(**terms).violations}


def usage_at(leaves: Sequence[bytes], nth: int, domain: int = 2) -> int:
    """Return where the ``nth`` reading of the domain with this unique_id stands."""
    own = [
        at
        for at, record in enumerate(records(leaves))
        if isinstance(record, UsageRecord) and record.unique_id == domain
    ]
    return own[nth]


def edited(leaves: Sequence[bytes], at: int, **values: Any) -> list[bytes]:
    """Change one record, and chain all records anew."""
    return relink(leaves, lambda place, record: record._replace(**values) if place == at else record)


def fresh(reading: Reading, **values: Any) -> Reading:
    """Return the first reading of a domain that takes the place of another."""
    return replace(reading, **{**dict.fromkeys(COUNTERS, 0), **values})


def test_honest_log_is_affirmed_and_says_what_it_does_not_prove(site: Site) -> None:
    site.close()
    result = fine(site.files().audit())
    assert result.not_proved == (Unproved.UNWITNESSED, Unproved.CURRENCY)
    assert result.checked == tuple(check.name for check in CHECKS)
    own = {total.domain: total for total in result.totals}
    for reading in site.source.snapshot():
        assert own[reading.domain].cpu_ns == reading.cpu_ns
        assert own[reading.domain].mem_page_ns == reading.pages * 20 * PERIOD


def test_01_dropped_interval_later_ones_renumbered(site: Site) -> None:
    site.close()
    files = site.files()
    at = usage_at(files.leaves(), 5)

    def drop(place: int, record: Record) -> Record | None:
        if place == at:
            return None
        later = isinstance(record, UsageRecord) and record.unique_id == 2 and place > at
        return record._replace(seq=record.seq - 1) if later else record

    assert Code.TAMPERED in codes(files.with_leaves(relink(files.leaves(), drop)))


def test_02_interval_never_written(site: Site) -> None:
    site.close()
    files = site.files()
    at = usage_at(files.leaves(), 5)
    rogue = files.resigned(relink(files.leaves(), lambda place, record: None if place == at else record))
    found = caught(rogue, "continuous", Code.INCOMPLETE)
    tick = records(files.leaves())[at].tick
    assert found.interval == (tick, tick)
    assert found.domain is not None


def test_02_interval_of_a_busy_domain_never_written(site: Site) -> None:
    """All CPUs are busy: what the two intervals used together is no second violation."""
    site.source.add("busy", "acme", unique_id=4)
    for _ in range(6):
        site.clock.advance()
        for domain, reading in site.source.domains.items():
            if reading.unique_id == 4:
                site.source.domains[domain] = replace(reading, cpu_ns=reading.cpu_ns + 4 * PERIOD)
        site.meter.tick()
    site.close()
    at = usage_at(site.leaves(), 3, domain=4)
    rogue = relink(site.leaves(), lambda place, record: None if place == at else record)
    caught(site.files().resigned(rogue), "continuous", Code.INCOMPLETE)


def test_02_interval_never_written_and_the_next_stretched_over_it(site: Site) -> None:
    site.close()
    files = site.files()
    at, following = usage_at(files.leaves(), 5), usage_at(files.leaves(), 6)
    dropped = records(files.leaves())[at]

    def stretch(place: int, record: Record) -> Record | None:
        if place == at:
            return None
        if not isinstance(record, UsageRecord) or record.unique_id != 2 or place < at:
            return record
        start = dropped.mono_start if place == following else record.mono_start
        return record._replace(seq=record.seq - 1, mono_start=start)

    assert Code.INCOMPLETE in codes(files.resigned(relink(files.leaves(), stretch)))


def test_02_last_reading_of_a_domain_never_written(site: Site) -> None:
    site.clock.advance(PERIOD // 2)
    site.close()
    files = site.files()
    at = usage_at(files.leaves(), -1)
    rogue = files.resigned(relink(files.leaves(), lambda place, record: None if place == at else record))
    caught(rogue, "ended", Code.INCOMPLETE)


def test_02_tick_of_all_domains_never_written(site: Site) -> None:
    site.close()
    files = site.files()
    tick = records(files.leaves())[usage_at(files.leaves(), 5)].tick
    rogue = files.resigned(relink(files.leaves(), lambda _, record: None if record.tick == tick else record))
    assert codes(rogue) == {Code.INCOMPLETE}


def test_04_two_stored_records_swapped(site: Site) -> None:
    site.close()
    leaves = site.files().leaves()
    one, two = usage_at(leaves, 5), usage_at(leaves, 6)
    leaves[one], leaves[two] = leaves[two], leaves[one]
    assert codes(site.files().with_leaves(leaves)) == {Code.TAMPERED}


def test_04_two_records_swapped_and_signed(site: Site) -> None:
    site.close()
    leaves = site.files().leaves()
    one, two = usage_at(leaves, 5), usage_at(leaves, 6)
    leaves[one], leaves[two] = leaves[two], leaves[one]
    caught(site.files().resigned(leaves), "linked", Code.TAMPERED)


def test_05_record_written_twice(site: Site) -> None:
    site.close()
    leaves = site.files().leaves()
    at = usage_at(leaves, 5)
    caught(site.files().resigned([*leaves[: at + 1], leaves[at], *leaves[at + 1 :]]), "unique", Code.DOUBLE)


def test_07_counter_edited_in_storage(site: Site) -> None:
    site.close()
    leaves = site.files().leaves()
    at = usage_at(leaves, 5)
    offset = SALT_BYTES + 112 + 32 + 16 + 16 + 32 + 4 + 8 + 8 + 7
    leaves[at] = leaves[at][:offset] + bytes([leaves[at][offset] ^ 1]) + leaves[at][offset + 1 :]
    assert records(leaves)[at] != records(site.files().leaves())[at]
    assert codes(site.files().with_leaves(leaves)) == {Code.TAMPERED}


def test_07_counter_edited_and_chain_made_anew(site: Site) -> None:
    """The attacker can do everything but sign."""
    site.close()
    files = site.files()
    at = usage_at(files.leaves(), 5)
    cpu = records(files.leaves())[at].cpu_ns
    caught(files.with_leaves(edited(files.leaves(), at, cpu_ns=cpu - 1)), "signed-root", Code.TAMPERED)


def test_10_two_readers_were_shown_different_trees(site: Site) -> None:
    site.close()
    files = site.files()
    at = usage_at(files.leaves(), 5)
    cpu = records(files.leaves())[at].cpu_ns
    fork = files.resigned(edited(files.leaves(), at, cpu_ns=cpu - 1))
    fine(fork.audit())
    peer = Checkpoint.of_text(Note.decode(fork.checkpoint).text)
    caught(files, "earlier-checkpoints", Code.FORKED, peers=(peer,))


def test_11_fork_without_a_witness_is_not_caught_and_the_result_says_so(site: Site) -> None:
    site.close()
    assert Unproved.UNWITNESSED in site.files().audit().not_proved
    demanded = site.files().audit(witness=True)
    assert demanded.verdict is Verdict.INCONCLUSIVE
    assert demanded.open == (Unproved.UNWITNESSED,)


def test_13_tail_cut_before_it_was_published(site: Site) -> None:
    site.sign()
    files = site.files()
    fine(files.audit(until_ms=site.clock.wall_ms))
    later = site.clock.wall_ms + 10 * PERIOD // 1_000_000
    caught(files, "current", Code.INCOMPLETE, until_ms=later)


def test_13_meter_closed_while_domains_ran_on(site: Site) -> None:
    site.close()
    later = site.clock.wall_ms + 10 * PERIOD // 1_000_000
    assert codes(site.files(), until_ms=later) == {Code.INCOMPLETE}


def test_13_tail_of_a_published_log_cut(site: Site) -> None:
    site.close()
    leaves = site.files().leaves()
    assert Code.TAMPERED in codes(site.files().with_leaves(leaves[:-5]))


def test_13_records_behind_the_signed_tree(site: Site) -> None:
    site.close()
    leaves = site.files().leaves()
    assert Code.TAMPERED in codes(site.files().with_leaves([*leaves, leaves[usage_at(leaves, 5)]]))


def test_14_old_log_shown_after_a_reboot(site: Site) -> None:
    site.close()
    fine(site.files().audit(reset_count=7))
    caught(site.files(), "epochs", Code.ROLLBACK, reset_count=8)


def test_14_log_is_shorter_than_one_seen_before(site: Site) -> None:
    site.sign()
    old = site.files()
    site.run(3)
    site.sign()
    new = Checkpoint.of_text(Note.decode(site.files().checkpoint).text)
    fine(site.files().audit(seen=(Checkpoint.of_text(Note.decode(old.checkpoint).text),)))
    caught(old, "earlier-checkpoints", Code.ROLLBACK, seen=(new,))


def test_14_genesis_continues_another_log(site: Site) -> None:
    site.meter.abandon()
    site.clock.advance()
    site.open()
    site.run(2)
    site.close()
    leaves = site.files().leaves()
    at = [place for place, record in enumerate(records(leaves)) if record.kind is Kind.GENESIS][1]

    rogue = relink(leaves, lambda _, record: record)
    assert rogue == leaves
    forged = records(leaves)[at]._replace(prev_root=bytes(32))
    caught(site.files().resigned(_written_over(leaves, at, forged)), "genesis", Code.ROLLBACK)


def _written_over(leaves: Sequence[bytes], at: int, record: Record) -> list[bytes]:
    """Write ``record`` at ``at`` as it is, and chain the records after it to it."""
    from attest.merkle import leaf_hash
    from metering.chain import Chains
    from metering.record import encode

    chains, written = Chains(), []
    for place, (leaf, old) in enumerate(zip(leaves, records(leaves), strict=True)):
        if place == at:
            new = leaf[:SALT_BYTES] + encode(record)
            chains.advance(record, leaf_hash(new))
        else:
            new = chains.link(old, leaf[:SALT_BYTES])
        written.append(new)
    return written


def test_14_time_since_boot_began_again_in_one_boot(site: Site) -> None:
    """Counters fell and nobody says why: the records of an old boot stand where a new one should."""
    site.close()
    leaves = site.files().leaves()
    rogue = relink(
        leaves,
        lambda place, record: (
            record._replace(epoch=3) if isinstance(record, MeterRecord) and place > 40 else record
        ),
    )
    assert Code.ROLLBACK in codes(site.files().resigned(rogue))


def test_16_wall_clock_set_back(site: Site) -> None:
    site.clock.wall_ms -= 3_600_000
    site.run(5)
    site.close()
    found = caught(site.files(), "clock", Code.CLOCK)
    assert "-3600 s" in found.detail
    assert site.files().audit().totals[0].cpu_ns > 0


def test_16_wall_clock_that_is_not_synchronised_is_only_a_label(site: Site) -> None:
    site.clock.synced = False
    site.clock.wall_ms -= 3_600_000
    site.run(5)
    site.close()
    result = fine(site.files().audit())
    assert Unproved.WALL_CLOCK in result.not_proved


def test_17_wall_clock_set_ahead(site: Site) -> None:
    site.clock.wall_ms += 3_600_000
    site.run(5)
    site.close()
    caught(site.files(), "clock", Code.CLOCK)


def test_17_tick_that_is_not_that_of_its_time(site: Site) -> None:
    site.close()
    at = usage_at(site.leaves(), -1)
    tick = records(site.leaves())[at].tick
    caught(site.files().resigned(edited(site.leaves(), at, tick=tick + 1)), "clock", Code.CLOCK)


def test_20_power_cut_costs_less_than_a_tick(site: Site) -> None:
    site.meter.abandon()
    reboot(site, after_ms=60_000)
    site.close()
    result = fine(site.files().audit(), "boot 7 has no CLOSE: at most 55 s were not read")
    assert all(total.incarnations == 2 for total in result.totals)


def test_20_power_cut_with_a_long_silence(site: Site) -> None:
    """Nothing says that the host was off, and not running without a meter."""
    site.meter.abandon()
    reboot(site, after_ms=7_200_000)
    site.close()
    caught(site.files(), "boots", Code.INCOMPLETE)
    fine(site.files().audit(max_gap_ns=7200 * SECOND), "no CLOSE")


def test_20_boots_without_a_meter(site: Site) -> None:
    site.close()
    reboot(site, after_ms=7_200_000, epoch=10)
    site.close()
    found = caught(site.files(), "boots", Code.INCOMPLETE)
    assert "2 boots after boot 7 have no records" in found.detail


def test_20_clean_stop_and_a_long_time_off(site: Site) -> None:
    site.close()
    reboot(site, after_ms=30 * 86_400_000)
    site.close()
    fine(site.files().audit())


def reboot(site: Site, after_ms: int, epoch: int = 8) -> None:
    site.epoch, site.clock.mono_ns = epoch, PERIOD // 2
    site.clock.wall_ms += after_ms
    for domain, reading in site.source.domains.items():
        site.source.domains[domain] = fresh(reading)
    site.open()
    site.run(3)


def test_23_bit_63_of_cpu_time_is_masked_and_flagged(site: Site) -> None:
    domain = next(iter(site.source.domains))
    honest = site.source.domains[domain]
    site.source.domains[domain] = replace(honest, cpu_ns=honest.cpu_ns | 1 << 63)
    site.clock.advance()
    site.meter.tick()
    site.source.domains[domain] = honest
    site.run(2)
    site.close()
    result = fine(site.files().audit())
    assert sum(record.flags & Flag.MASKED for record in records(site.leaves())) == 1
    total = next(total for total in result.totals if total.domain == domain)
    assert total.cpu_ns == site.source.domains[domain].cpu_ns


def test_08_more_cpu_time_than_cpus(site: Site) -> None:
    site.close()
    at = usage_at(site.leaves(), -1)
    cpu = records(site.leaves())[at].cpu_ns + 5 * PERIOD
    rogue = site.files().resigned(edited(site.leaves(), at, kind=Kind.USAGE, cpu_ns=cpu))
    caught(rogue, "possible", Code.DISPUTED)


def test_08_memory_that_is_not_pages_times_time(site: Site) -> None:
    site.close()
    at = usage_at(site.leaves(), -1)
    memory = records(site.leaves())[at].mem_page_ns + 1
    caught(site.files().resigned(edited(site.leaves(), at, mem_page_ns=memory)), "possible", Code.DISPUTED)


def test_25_counter_fell_without_a_flag(site: Site) -> None:
    site.close()
    at = usage_at(site.leaves(), -1)
    caught(
        site.files().resigned(edited(site.leaves(), at, kind=Kind.USAGE, net_rx=0)), "counters", Code.ROLLBACK
    )


def test_25_counter_that_began_again_is_flagged_and_counted_from_zero(site: Site) -> None:
    domain = next(iter(site.source.domains))
    before = site.source.domains[domain].net_rx
    site.source.domains[domain] = replace(site.source.domains[domain], net_rx=7)
    site.clock.advance()
    site.meter.tick()
    site.close()
    result = fine(site.files().audit(), "began again at 0")
    assert next(total for total in result.totals if total.domain == domain).net_rx == before + 7


def test_28_uuid_of_a_running_domain_rewritten(site: Site) -> None:
    domain = next(iter(site.source.domains))
    reading = site.source.domains.pop(domain)
    other = "00000000-0000-4000-8000-000000000001"
    site.source.domains[other] = replace(reading, domain=other)
    site.clock.advance()
    site.meter.tick()
    site.close()
    assert Code.TAMPERED in codes(site.files())
    assert any("had another UUID before" in one.detail for one in site.files().audit().violations)


def test_29_domain_restarted_within_one_tick_is_two_incarnations(site: Site) -> None:
    domain = next(iter(site.source.domains))
    old = site.source.domains[domain]
    site.clock.advance(PERIOD // 3)
    site.meter.stopped(old)
    site.source.domains[domain] = fresh(old, unique_id=9)
    site.clock.advance(PERIOD // 3)
    site.meter.started(site.source.domains[domain])
    site.clock.advance(PERIOD // 3)
    site.meter.tick()
    site.run(1)
    site.close()
    result = fine(site.files().audit())
    total = next(total for total in result.totals if total.domain == domain)
    assert total.incarnations == 2
    assert total.cpu_ns == old.cpu_ns + site.source.domains[domain].cpu_ns


def test_29_domain_replaced_between_ticks_and_nobody_told_the_meter(site: Site) -> None:
    domain = next(iter(site.source.domains))
    site.source.domains[domain] = fresh(site.source.domains[domain], unique_id=9, cpu_ns=5)
    site.run(2)
    site.close()
    result = fine(site.files().audit(), "gone before its last reading")
    assert next(total for total in result.totals if total.domain == domain).incarnations == 2


def test_32_incarnations_that_overlap(site: Site) -> None:
    domain = next(iter(site.source.domains))
    site.clock.advance(PERIOD // 2)
    site.meter.stopped(site.source.domains[domain])
    site.meter.started(replace(site.source.domains[domain], unique_id=9, cpu_ns=0))
    site.source.domains[domain] = replace(site.source.domains[domain], unique_id=9, cpu_ns=0)
    site.clock.advance(PERIOD // 2)
    site.meter.tick()
    site.close()
    fine(site.files().audit())
    leaves = site.leaves()
    start = next(
        at
        for at in range(len(leaves))
        if records(leaves)[at].kind is Kind.START and records(leaves)[at].unique_id == 9
    )
    early = records(leaves)[start].mono_start - 2 * PERIOD
    caught(site.files().resigned(edited(leaves, start, mono_start=early)), "unique", Code.DOUBLE)


def test_35_incarnation_never_written(site: Site) -> None:
    domain = next(iter(site.source.domains))
    for unique_id in (9, 10):
        site.meter.stopped(site.source.domains[domain])
        site.source.domains[domain] = fresh(site.source.domains[domain], unique_id=unique_id)
        site.clock.advance(PERIOD)
        site.source.work()
        site.meter.tick()
    site.close()
    rogue = relink(
        site.leaves(),
        lambda _, record: None if isinstance(record, UsageRecord) and record.unique_id == 9 else record,
    )
    caught(site.files().resigned(rogue), "incarnations", Code.INCOMPLETE)


def test_38_late_tick_is_a_named_gap(site: Site) -> None:
    site.clock.advance(5 * PERIOD)
    site.run(2)
    site.close()
    fine(site.files().audit(), "50 s were not read: the meter came late")


def test_38_gap_that_is_longer_than_accepted(site: Site) -> None:
    site.clock.advance(5 * PERIOD)
    site.run(2)
    site.close()
    caught(site.files(), "gaps", Code.INCOMPLETE, max_gap_ns=49 * SECOND)


def test_38_meter_was_down_in_a_running_host(site: Site) -> None:
    site.meter.abandon()
    site.clock.advance(5 * PERIOD)
    site.source.work()
    site.open()
    site.run(2)
    site.close()
    result = fine(site.files().audit(), "the meter did not run")
    assert all(total.incarnations == 1 for total in result.totals)
    used = {reading.domain: reading.cpu_ns for reading in site.source.snapshot()}
    assert {total.domain: total.cpu_ns for total in result.totals} == used


def test_40_flipped_byte_is_named(site: Site) -> None:
    site.close()
    leaves = site.files().leaves()
    at = usage_at(leaves, 5)
    leaves[at] = bytes([leaves[at][0] ^ 1]) + leaves[at][1:]
    result = site.files().with_leaves(leaves).audit()
    assert {one.code for one in result.violations} == {Code.TAMPERED}
    assert any(f"does not continue the one at {at}" in one.detail for one in result.violations)


def test_41_platform_that_is_not_in_its_reference_state(site: Site) -> None:
    site.close()
    files = site.files()
    trust = Trust(site.platform.ak.public, (OTHER_STATE,))
    result = files.audit(trust=trust)
    assert [one.code for one in result.violations] == [Code.PLATFORM]
    assert result.verdict is Verdict.CONTRAINDICATED
    fine(files.audit(trust=trust, without="meter-key"))
    fine(files.audit(trust=Trust(site.platform.ak.public, (OTHER_STATE, GOOD_STATE))))


@pytest.mark.parametrize(
    ("attributes", "bound"),
    [
        pytest.param(METER_ATTRIBUTES | Attributes.USER_WITH_AUTH, True, id="works by password"),
        pytest.param(METER_ATTRIBUTES & ~Attributes.FIXED_TPM, True, id="can leave the TPM"),
        pytest.param(METER_ATTRIBUTES & ~Attributes.SENSITIVE_DATA_ORIGIN, True, id="made outside"),
        pytest.param(METER_ATTRIBUTES, False, id="has no policy"),
    ],
)
def test_41_key_that_signs_on_any_platform(site: Site, attributes: Attributes, bound: bool) -> None:  # noqa: FBT001 - a table
    site.meter.abandon()
    site.platform.key = TpmKey.make(attributes, policy(GOOD_STATE) if bound else b"")
    site.folder = site.folder.with_name("other")
    site.open()
    site.close()
    assert Code.PLATFORM in codes(site.files())


def test_41_key_that_the_enrolled_tpm_did_not_make(site: Site) -> None:
    site.close()
    strange = Platform(key=site.platform.key)
    result = replace(site.files(), key=strange.bundle()).audit()
    assert [one.code for one in result.violations] == [Code.TAMPERED]


def test_41_certificate_of_another_use_or_another_key(site: Site) -> None:
    site.close()
    name, public = site.platform.key.public.name(), site.platform.key.public.encode()
    for certificate in (
        site.platform.ak.certify_creation(name, b"other use"),
        site.platform.ak.certify_creation(site.platform.ak.public.name()),
    ):
        files = replace(site.files(), key=MeterKeyBundle(public, *certificate).encode())
        caught(files, "meter-key", Code.TAMPERED)


def test_41_records_of_another_host(site: Site) -> None:
    site.close()
    rogue = relink(site.leaves(), lambda _, record: record._replace(host=bytes(32)))
    caught(site.files().resigned(rogue), "host", Code.PLATFORM)


def test_forged_checkpoint_signature(site: Site) -> None:
    site.close()
    note = Note.decode(site.files().checkpoint)
    head = Checkpoint.of_text(note.text)
    stranger = TpmKey.make(METER_ATTRIBUTES)
    theirs = NoteSignature(ORIGIN, note.signatures[0].key_id, stranger.sign(digest(head)))
    files = replace(site.files(), checkpoint=Note(note.text, (theirs,)).encode())
    caught(files, "checkpoint", Code.TAMPERED)


def test_unknown_signature_lines_are_ignored(site: Site) -> None:
    site.close()
    note = Note.decode(site.files().checkpoint)
    witness = NoteSignature("witness.example", b"\1\2\3\4", b"anything")
    fine(replace(site.files(), checkpoint=Note(note.text, (witness, *note.signatures)).encode()).audit())
    alone = replace(site.files(), checkpoint=Note(note.text, (witness,)).encode())
    caught(alone, "checkpoint", Code.TAMPERED)


def test_47_proof_with_another_shape_than_its_tree(site: Site) -> None:
    site.close()
    files = site.files("acme")
    view = View.decode(files.log)
    spoiled = {
        "longer": replace(view, cover=(*view.cover, bytes(32))),
        "shorter": replace(view, cover=view.cover[:-1]),
        "other size": replace(view, size=view.size + 1),
    }
    for name, wrong in spoiled.items():
        assert codes(replace(files, log=wrong.encode()), tenant="acme") & {Code.MALFORMED}, name
    swapped = replace(view, cover=(view.cover[1], view.cover[0], *view.cover[2:]))
    caught(replace(files, log=swapped.encode()), "signed-root", Code.TAMPERED, tenant="acme")


def test_49_history_sealed_anew_with_a_later_key(site: Site) -> None:
    site.close()
    files = site.files()
    later = Platform(ak=site.platform.ak)
    head = Checkpoint.of_text(Note.decode(files.checkpoint).text)
    note = signed(head, later.key.spki(), later.key.sign(digest(head)))
    caught(replace(files, checkpoint=note, key=later.bundle()), "genesis-key", Code.TAMPERED)


def test_50_bytes_that_are_no_record(site: Site) -> None:
    site.close()
    leaves = site.files().leaves()
    for at, offset in ((0, SALT_BYTES), (0, SALT_BYTES + 1), (0, len(leaves[0]) - 1), (1, SALT_BYTES + 2)):
        bad = [*leaves]
        bad[at] = bad[at][:offset] + b"\x7f" + bad[at][offset + 1 :]
        result = site.files().with_leaves(bad).audit()
        assert [one.code for one in result.violations] == [Code.MALFORMED]
        assert result.verdict is Verdict.NONE
    for log in (b"", b"shype", site.files().log + b"\0", site.files().log[:-1]):
        assert codes(replace(site.files(), log=log)) == {Code.MALFORMED}


def test_50_bundle_with_a_key_twice(site: Site) -> None:
    site.close()
    key = site.files().key
    twice = key.replace(b'"public"', b'"public": "AAAA", "public"', 1)
    assert json.loads(twice) == json.loads(key)
    assert codes(replace(site.files(), key=twice)) == {Code.MALFORMED}


def test_52_sleeping_at_every_tick_hides_nothing(site: Site) -> None:
    """Counters are cumulative: when a guest runs does not matter."""
    site.close()
    used = {reading.domain: reading.cpu_ns for reading in site.source.snapshot()}
    assert {total.domain: total.cpu_ns for total in site.files().audit().totals} == used


def test_53_balloon_between_two_ticks_is_charged(site: Site) -> None:
    domain = next(iter(site.source.domains))
    small = site.source.domains[domain]
    site.clock.advance(PERIOD // 4)
    site.meter.changed(replace(small, pages=small.pages * 2))
    site.clock.advance(PERIOD // 4)
    site.meter.changed(small)
    site.clock.advance(PERIOD // 2)
    site.meter.tick()
    site.close()
    total = next(total for total in fine(site.files().audit()).totals if total.domain == domain)
    assert total.mem_page_ns == small.pages * 21 * PERIOD + small.pages * PERIOD // 4


def test_59_part_of_another_tenant(site: Site) -> None:
    site.close()
    fine(site.files("acme").audit(tenant="acme"))
    found = caught(site.files("zeta"), "tenant", Code.MALFORMED, tenant="acme")
    assert "'zeta'" in found.detail


def test_59_part_with_the_salt_of_another(site: Site) -> None:
    site.close()
    files = site.files("acme")
    view = View.decode(files.log)
    leaves = [bytes(SALT_BYTES) + leaf[SALT_BYTES:] for leaf in view.leaves]
    assert codes(replace(files, log=replace(view, leaves=leaves).encode()), tenant="acme") == {Code.TAMPERED}


def test_tenant_is_shown_nothing_of_others(site: Site) -> None:
    site.close()
    shown = records(View.decode(site.files("acme").log).leaves)
    assert {record.tenant for record in shown if isinstance(record, UsageRecord)} == {"acme"}
    assert b"zeta" not in site.files("acme").log
    whole = {record.domain for record in records(site.leaves()) if isinstance(record, UsageRecord)}
    hidden = whole - {record.domain for record in shown if isinstance(record, UsageRecord)}
    assert all(domain not in site.files("acme").log for domain in hidden)


def test_tenant_sees_that_the_exporter_keeps_a_reading_back(site: Site) -> None:
    site.close()
    leaves = site.leaves()
    view = View.decode(site.files("acme").log)
    missing = usage_at(leaves, 5)
    kept = [at for at in view.indexes if at != missing]
    caught(_part(site, leaves, kept), "continuous", Code.INCOMPLETE, tenant="acme")


def test_tenant_sees_that_the_exporter_keeps_the_tail_back(site: Site) -> None:
    site.close()
    leaves = site.leaves()
    view = View.decode(site.files("acme").log)
    first_dropped = records(leaves)[usage_at(leaves, 10)].tick
    kept = [at for at in view.indexes if records(leaves)[at].tick < first_dropped]
    caught(_part(site, leaves, kept), "current", Code.INCOMPLETE, tenant="acme")


def _part(site: Site, leaves: Sequence[bytes], indexes: Sequence[int]) -> Files:
    from attest.merkle import leaf_hash
    from metering.merkle import cover, levels

    tree = levels([leaf_hash(leaf) for leaf in leaves])
    view = View(len(leaves), indexes, [leaves[at] for at in indexes], cover(tree, indexes))
    return replace(site.files("acme"), log=view.encode())


def test_relabelled_domain_is_another_incarnation(site: Site) -> None:
    domain = next(iter(site.source.domains))
    site.meter.stopped(site.source.domains[domain])
    site.source.domains[domain] = fresh(site.source.domains[domain], label="secret")
    site.run(2)
    site.close()
    result = fine(site.files().audit())
    assert next(total for total in result.totals if total.domain == domain).incarnations == 2


def test_identity_changed_within_a_line(site: Site) -> None:
    site.close()
    at = usage_at(site.leaves(), -1)
    caught(site.files().resigned(edited(site.leaves(), at, label=bytes(32))), "identity", Code.TAMPERED)


def test_log_that_does_not_begin_at_its_beginning(site: Site) -> None:
    site.close()
    assert Code.INCOMPLETE in codes(site.files().resigned(site.leaves()[1:]))


def test_what_is_missing_makes_the_audit_inconclusive(site: Site) -> None:
    site.close()
    files, ak = site.files(), site.platform.ak.public
    for result, word in (
        (replace(files, checkpoint=None).audit(), Unproved.UNSIGNED),
        (replace(files, key=None).audit(), Unproved.KEY_MISSING),
        (files.audit(trust=Trust(None, (GOOD_STATE,))), Unproved.KEY_UNCERTIFIED),
        (files.audit(trust=Trust(ak, None)), Unproved.PLATFORM),
    ):
        assert result.verdict is Verdict.INCONCLUSIVE
        assert result.open == (word,)


def test_every_check_is_the_only_one_to_catch_something() -> None:
    """A check that nothing depends on would be dead."""
    source = Path(__file__).read_text(encoding="utf-8")
    assert [check.name for check in CHECKS if f'"{check.name}", Code.' not in source] == []


def test_roots_of_all_checkpoints_agree_with_the_leaves(site: Site) -> None:
    from attest.merkle import leaf_hash

    heads = []
    for _ in range(3):
        site.run(1)
        heads.append(Checkpoint.of_text(Note.decode(site.sign()).text))
    hashes = [leaf_hash(leaf) for leaf in site.leaves()]
    for head, later in itertools.pairwise((*heads, heads[-1])):
        assert head.root == root_of(hashes[: head.size])
        assert head.size <= later.size

"""One test for each attack or fault of facts/metering.md 3 that is answered (the number is its): 1 to 20.

``caught`` asserts more than the verdict: that exactly one violation is found, by exactly the check named.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from attest.result import Verdict
from metering.audit import CHECKS
from metering.checkpoint import Checkpoint, Note
from metering.record import SALT_BYTES, Kind, MeterRecord, Record, UsageRecord
from metering.verdict import Code, Unproved
from tests.metering.judging import SECOND, caught, codes, edited, fine, fresh, usage_at
from tests.metering.world import (
    PERIOD,
    Site,
    records,
    relink,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    from acm.merkle import leaf_hash
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

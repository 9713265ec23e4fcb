"""One test for each attack or fault of facts/metering.md 3 that is answered (the number is its): the rest.

``caught`` asserts more than the verdict: that exactly one violation is found, by exactly the check named.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attest.result import Verdict
from metering.audit import CHECKS
from metering.case import Trust
from metering.checkpoint import Checkpoint, Note, NoteSignature, signed
from metering.key import MeterKeyBundle, policy
from metering.log import digest
from metering.merkle import root_of
from metering.record import SALT_BYTES, Flag, Kind, UsageRecord
from metering.verdict import Code, Unproved
from metering.view import View
from tests.metering.judging import SECOND, caught, codes, edited, fine, fresh, usage_at
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
    from acm.merkle import leaf_hash, levels
    from metering.merkle import cover

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
    files = Path(__file__).parent.glob("test_attacks_*.py")
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    assert [check.name for check in CHECKS if f'"{check.name}", Code.' not in source] == []


def test_roots_of_all_checkpoints_agree_with_the_leaves(site: Site) -> None:
    from acm.merkle import leaf_hash

    heads = []
    for _ in range(3):
        site.run(1)
        heads.append(Checkpoint.of_text(Note.decode(site.sign()).text))
    hashes = [leaf_hash(leaf) for leaf in site.leaves()]
    for head, later in itertools.pairwise((*heads, heads[-1])):
        assert head.root == root_of(hashes[: head.size])
        assert head.size <= later.size

"""Xen's list against ours: nothing that nobody launched here is passed over, and nothing ended stays."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hypervisor.toolstack import DomainInfo, RunState
from hypervisor.xen.survey import Launched, survey

OURS = Launched("00000000-0000-4000-8000-000000000001", "u:r:domU_t")
LISTED = DomainInfo(1, OURS.uuid, "u:r:domU_t", RunState.RUNNING, 1, 5, 100, 100)
DOM0 = replace(LISTED, domid=0, uuid="00000000-0000-0000-0000-000000000000", label="u:r:dom0_t")


def test_what_runs_as_it_was_launched_is_no_news() -> None:
    for state in (RunState.RUNNING, RunState.PAUSED):
        found = survey([DOM0, replace(LISTED, state=state)], {1: OURS}, ())
        assert (found.ended, found.found) == ((), ())


def test_what_is_gone_or_has_ended_is_told() -> None:
    assert survey([DOM0], {1: OURS}, ()).ended == (1,)
    for state in (RunState.ENDED, RunState.DYING):
        found = survey([replace(LISTED, state=state)], {1: OURS}, ())
        assert (found.ended, found.found) == ((1,), ())


def test_a_stranger_is_found_in_every_state() -> None:
    for state in RunState:
        stranger = replace(LISTED, domid=2, state=state)
        assert survey([DOM0, LISTED, stranger], {1: OURS}, ()).found == (stranger,)


def test_a_stranger_under_the_number_of_ours_is_found_and_ours_has_ended() -> None:
    other = replace(LISTED, uuid="00000000-0000-4000-8000-00000000000b")
    found = survey([other], {1: OURS}, ())
    assert (found.ended, found.found) == ((1,), (other,))


def test_ours_under_another_context_is_found() -> None:
    relabelled = replace(LISTED, label="u:r:dom0_t")
    found = survey([relabelled], {1: OURS}, ())
    assert (found.ended, found.found) == ((), (relabelled,))


def test_what_we_destroyed_may_take_its_time_to_die() -> None:
    dying = replace(LISTED, state=RunState.DYING)
    assert survey([dying], {}, {(1, OURS.uuid)}).found == ()
    assert survey([replace(dying, state=RunState.RUNNING)], {}, {(1, OURS.uuid)}).found != ()
    assert survey([dying], {}, {(2, OURS.uuid)}).found == (dying,)


def test_another_domain_under_the_same_names_is_found_by_its_cpu_time() -> None:
    ours = Launched(OURS.uuid, OURS.context, cpu_ns=LISTED.cpu_ns + 1)
    found = survey([LISTED], {1: ours}, ())
    assert (found.ended, found.found) == ((1,), (LISTED,))


@given(
    st.lists(
        st.builds(
            replace,
            st.just(LISTED),
            domid=st.integers(0, 4),
            uuid=st.sampled_from([OURS.uuid, "x"]),
            label=st.sampled_from([OURS.context, None]),
            state=st.sampled_from(RunState),
        ),
        unique_by=lambda each: each.domid,
    ),
    st.dictionaries(st.integers(1, 4), st.just(OURS)),
)
def test_every_guest_is_ours_or_found(listed: list[DomainInfo], ours: dict[int, Launched]) -> None:
    found = survey(listed, ours, ())
    for each in listed:
        if each.domid:
            known = each.domid in ours and (each.uuid, each.label) == (OURS.uuid, OURS.context)
            assert known != (each in found.found)
    running = {
        each.domid for each in listed if each.uuid == OURS.uuid and each.state in ("running", "paused")
    }
    assert set(found.ended) == ours.keys() - running

"""The launch rule over a real Xen's port: what starts is what was measured, and a failure leaves nothing."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from acm.update import Amendment
from hypervisor.errors import (
    AccessDenied,
    NoContext,
    StrangerRuns,
    UnsupportedError,
    XenError,
)
from hypervisor.launch import Launcher
from hypervisor.state import DOM0, DomainStatus
from hypervisor.toolstack import Limits
from hypervisor.xen.driver import XenDriver
from hypervisor.xen.host import GuardedXen
from hypervisor.xen.survey import Survey
from tests.hypervisor.outside import Outside
from tests.simulators.xen import FakeXen

if TYPE_CHECKING:
    from collections.abc import Callable

    from acm.policy import Policy
    from hypervisor.hostconfig import HostDescription

CONFIG = b"""
name = "web"
kernel = "kernel"
ramdisk = "ramdisk"
extra = "console=hvc0"
memory = 8
vcpus = 2
cpu_weight = 512
cap = 50
access_control = [ "policy=test,label=red" ]
"""
DOMU = "system_u:system_r:domU_t"
CONTEXTS = {"red": DOMU, "red-west": DOMU, "red-east": "system_u:system_r:isolated_domU_t"}
STEPS = ["read kernel", "read ramdisk", "vtpm", "measured"]


def edited(old: bytes, new: bytes) -> bytes:
    assert old in CONFIG
    return CONFIG.replace(old, new)


class Scene:
    def __init__(self, xen: FakeXen, description: HostDescription, policy: Policy) -> None:
        self.xen = xen
        self.description = replace(description, flask=CONTEXTS)
        clock = count(1)
        self.host = GuardedXen(self.description, policy, xen.driver(CONTEXTS), clock=lambda: next(clock))
        self.outside = Outside(self.host, {"kernel": b"K" * 5000, "ramdisk": b"R" * 4096})  # type: ignore[arg-type]  # another kind of host

    def launcher(self) -> Launcher:
        out = self.outside
        return Launcher(self.host, files=out, measurer=out, vtpms=out, meter=None, new_uuid=out.new_uuid)

    def launch(self, config: bytes = CONFIG) -> Any:
        return self.launcher().launch(config)

    def check_as_before(self) -> None:
        assert list(self.xen.guests) == [DOM0]
        assert list(self.host.state.domains) == [DOM0]
        survey = self.host.survey()
        assert (survey.ended, survey.found) == ((), ())


@pytest.fixture
def scene(description: HostDescription, policy: Policy) -> Scene:
    return Scene(FakeXen(), description, policy)


def test_what_starts_is_what_was_measured(scene: Scene) -> None:
    launched = scene.launch()
    (guest,) = [each for each in scene.xen.guests.values() if each.domid]
    assert (guest.kernel, guest.ramdisk) == (b"K" * 5000, b"R" * 4096)
    (measured,) = scene.outside.measured
    assert measured.kernel == hashlib.sha256(guest.kernel).hexdigest()
    assert measured.ramdisk == hashlib.sha256(guest.ramdisk or b"").hexdigest()
    assert measured.config_digest == hashlib.sha256(CONFIG).hexdigest()
    assert (guest.uuid, guest.name, guest.paused) == (launched.uuid, "web", 0)
    domain = scene.host.state.domain(launched.domid)
    assert (domain.domid, domain.label, domain.status) == (guest.domid, "red", DomainStatus.RUNNING)
    assert scene.host.limits(launched.domid) == Limits(2, 8 * 256 + 1, 512, 50)
    assert (launched.disks, launched.vifs) == ((), ())


def test_the_order_is_decide_copy_create_paused_vtpm_measure_unpause(scene: Scene) -> None:
    scene.launch()
    assert scene.outside.steps == STEPS
    assert scene.xen.steps == ["create", "created", "unpause"]


def test_the_operators_text_does_not_reach_xl(scene: Scene) -> None:
    scene.launch(edited(b'name = "web"', b'name = "web" # seclabel="system_u:system_r:dom0_t"'))
    (guest,) = [each for each in scene.xen.guests.values() if each.domid]
    assert b"dom0_t" not in guest.config
    assert f'seclabel = "{DOMU}"'.encode() in guest.config


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_outside_takes_everything_back(step: str, scene: Scene) -> None:
    scene.outside.fail_at = step
    with pytest.raises(RuntimeError, match=f"{step} failed"):
        scene.launch()
    scene.check_as_before()
    if step == "measured":
        assert scene.outside.steps[-1] == "vtpm destroyed"


@pytest.mark.parametrize("step", ["create", "created", "unpause"])
def test_a_failure_in_xen_takes_everything_back(step: str, scene: Scene) -> None:
    scene.xen.fail_at = step
    with pytest.raises(XenError, match=f"{step} failed"):
        scene.launch()
    scene.check_as_before()
    if step == "unpause":
        assert scene.outside.steps[-2:] == ["stop measured", "vtpm destroyed"]


@pytest.mark.parametrize("number", range(2))
def test_a_launch_that_cannot_be_recorded_takes_everything_back(number: int, scene: Scene) -> None:
    seen = count()

    def full(_: bytes) -> None:
        if next(seen) == number:
            raise OSError(28, "No space left on device")

    scene.host.trail._sink = full
    with pytest.raises(OSError, match="No space"):
        scene.launch()
    scene.check_as_before()


@pytest.mark.parametrize(
    "tamper",
    [
        {"sid": 8},
        {"sid": 0},
        {"paused": 0},
        {"shutdown": 1},
        {"cpu_time": 1},
        {"uuid": "00000000-0000-4000-8000-00000000000b"},
    ],
)
def test_a_domain_that_xen_does_not_have_as_ordered_never_runs(tamper: dict[str, Any], scene: Scene) -> None:
    scene.xen.tamper = tamper
    with pytest.raises(XenError) as refused:
        scene.launch()
    assert refused.value.code == "xen-domain"
    assert "unpause" not in scene.xen.steps
    assert list(scene.host.state.domains) == [DOM0]
    if "uuid" not in tamper:  # of another UUID nobody knows whose it is: it is left, and found
        scene.check_as_before()
    else:
        assert len(scene.host.survey().found) == 1


def test_a_domain_that_is_unpaused_while_it_is_measured_is_destroyed(scene: Scene) -> None:
    inner = scene.outside.measure_launch

    def racing(launch: Any) -> None:
        inner(launch)
        scene.xen.guests[1].paused = 0

    scene.outside.measure_launch = racing  # type: ignore[method-assign]  # somebody in Domain-0
    with pytest.raises(XenError, match="was to be paused"):
        scene.launch()
    scene.check_as_before()


def test_a_uuid_that_xen_has_already_is_refused(scene: Scene) -> None:
    scene.launch(CONFIG + b'uuid = "00000000-0000-4000-8000-0000000000aa"\n')
    with pytest.raises(XenError, match="already"):
        scene.launch(edited(b'"web"', b'"other"') + b'uuid = "00000000-0000-4000-8000-0000000000aa"\n')
    assert len(scene.xen.guests) == 2


def test_a_label_without_a_context_is_refused_where_flask_is_on(scene: Scene) -> None:
    with pytest.raises(NoContext) as refused:
        scene.launch(edited(b"label=red", b"label=red-blue"))
    assert refused.value.code == "no-flask-context"
    scene.check_as_before()
    assert scene.outside.steps == []
    assert [each.outcome for each in scene.host.trail] == ["denied"]


def test_without_flask_no_context_is_needed_or_given(description: HostDescription, policy: Policy) -> None:
    scene = Scene(FakeXen(enforcing=None), description, policy)
    scene.launch(edited(b"label=red", b"label=red-blue"))
    assert b"seclabel" not in scene.xen.guests[1].config
    assert scene.host.domains()[1].label is None


def test_nothing_starts_beside_a_stranger(scene: Scene) -> None:
    stranger = scene.xen.stranger()
    with pytest.raises(StrangerRuns) as refused:
        scene.launch()
    assert refused.value.code == "unknown-domain"
    assert [each.domid for each in scene.host.survey().found] == [stranger.domid]
    del scene.xen.guests[stranger.domid]
    assert scene.launch().domid == 2


def test_a_double_under_number_uuid_and_context_of_ours_is_found(scene: Scene) -> None:
    launched = scene.launch()
    guest = scene.xen.guests[launched.domid]
    guest.cpu_time = 10**9
    assert scene.host.survey().found == ()
    guest.cpu_time = 10**8
    survey = scene.host.survey()
    assert ([each.domid for each in survey.found], survey.ended) == ([launched.domid], (launched.domid,))


def test_the_policy_still_decides(scene: Scene) -> None:
    scene.launch(edited(b"label=red", b"label=red-west"))
    with pytest.raises(AccessDenied) as refused:
        scene.launch(edited(b"label=red", b"label=red-east").replace(b'"web"', b'"east"'))
    assert refused.value.code == "chwall-conflict"
    assert len(scene.xen.guests) == 2


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (CONFIG + b"disk = [ '/dev/red,raw,xvda,rw' ]\n", "disks"),
        (CONFIG + b"vif = [ 'vlan=1' ]\n", "network interfaces"),
        (CONFIG + b'type = "pvh"\n', "type 'pvh'"),
    ],
)
def test_what_a_real_guest_cannot_have_is_refused_by_name(config: bytes, what: str, scene: Scene) -> None:
    with pytest.raises(UnsupportedError, match=what):
        scene.launch(config)
    scene.check_as_before()


def test_a_stop_ends_the_domain_and_measures_it(scene: Scene) -> None:
    launcher = scene.launcher()
    launched = launcher.launch(CONFIG)
    scene.outside.steps.clear()
    launcher.stop(launched)
    assert scene.outside.steps == ["stop measured", "vtpm destroyed"]
    scene.check_as_before()


def test_a_domain_that_ended_by_itself_is_stopped_like_any_other(scene: Scene) -> None:
    launcher = scene.launcher()
    launched = launcher.launch(CONFIG)
    scene.xen.guests[launched.domid].shutdown = 1
    assert scene.host.survey().ended == (launched.domid,)
    launcher.stop(launched)
    scene.check_as_before()
    again = launcher.launch(CONFIG)
    del scene.xen.guests[again.domid]
    assert scene.host.survey().ended == (again.domid,)
    launcher.stop(again)
    scene.check_as_before()


def test_a_stop_that_xen_refuses_keeps_the_domain_in_the_state(scene: Scene) -> None:
    launcher = scene.launcher()
    launched = launcher.launch(CONFIG)
    scene.xen.fail_at = "destroy"
    steps = list(scene.outside.steps)
    with pytest.raises(XenError):
        launcher.stop(launched)
    assert launched.domid in scene.host.state.domains
    assert scene.outside.steps == steps, "it runs on, so its vTPM stays and no stop is measured"


def test_a_stop_that_cannot_be_recorded_is_made_good_later(scene: Scene) -> None:
    launcher = scene.launcher()
    launched = launcher.launch(CONFIG)
    steps = list(scene.outside.steps)

    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    scene.host.trail._sink = full
    with pytest.raises(OSError, match="No space"):
        launcher.stop(launched)
    assert scene.host.survey().ended == (launched.domid,)
    assert scene.outside.steps == steps
    scene.host.trail._sink = None
    launcher.stop(launched)
    assert scene.outside.steps == [*steps, "stop measured", "vtpm destroyed"]
    scene.check_as_before()


def test_an_update_that_cannot_be_recorded_ends_no_domain(
    scene: Scene, edited: Callable[[str, str], Policy]
) -> None:
    launched = scene.launch()
    before = scene.host.state

    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    judged = scene.host.judge_policy(edited("dom0", "dom0"), Amendment(stop=frozenset({launched.domid})))
    scene.host.trail._sink = full
    with pytest.raises(OSError, match="No space"):
        scene.host.enforce(judged)
    assert launched.domid in scene.xen.guests
    assert scene.host.state is before
    scene.host.trail._sink = None
    scene.host.enforce(judged)
    scene.check_as_before()


def test_a_stop_spares_a_stranger_who_took_the_number(scene: Scene) -> None:
    launcher = scene.launcher()
    launched = launcher.launch(CONFIG)
    del scene.xen.guests[launched.domid]
    scene.xen.next_domid = launched.domid
    stranger = scene.xen.stranger()
    assert stranger.domid == launched.domid
    launcher.stop(launched)
    assert scene.xen.guests[launched.domid] is stranger
    assert [each.uuid for each in scene.host.survey().found] == [stranger.uuid]


def test_a_xen_without_flask_runs_domains_without_a_context(
    description: HostDescription, policy: Policy
) -> None:
    scene = Scene(FakeXen(enforcing=None), description, policy)
    launched = scene.launch()
    assert scene.host.survey() == Survey((), ())
    assert scene.host.domains()[1].label is None
    scene.launcher().stop(launched)
    scene.check_as_before()


def test_a_driver_says_what_is_still_there_after_a_destruction(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, launched = scene.xen.driver(CONTEXTS), scene.launch()
    guest = scene.xen.guests[launched.domid]
    monkeypatch.setattr(scene.xen, "_destroy", lambda *_: b"")
    with pytest.raises(XenError, match="still there"):
        driver.destroy(launched.domid)
    guest.dying = 1
    driver.destroy(launched.domid)
    guest.dying = 0

    def replaced(*_: object) -> bytes:
        guest.uuid = "00000000-0000-4000-8000-00000000beef"
        return b""

    monkeypatch.setattr(scene.xen, "_destroy", replaced)
    driver.destroy(launched.domid)


def test_a_driver_destroys_nothing_that_is_gone_or_going(scene: Scene) -> None:
    driver, launched = scene.xen.driver(CONTEXTS), scene.launch()
    scene.xen.guests[launched.domid].dying = 1
    driver.destroy(launched.domid)
    driver.destroy(4711)
    assert "destroy" not in scene.xen.steps


def test_a_driver_pauses_and_unpauses(scene: Scene) -> None:
    launched = scene.launch()
    scene.host.pause(launched.domid)
    assert scene.xen.guests[launched.domid].paused == 1
    assert scene.host.state.domain(launched.domid).status is DomainStatus.PAUSED
    scene.host.unpause(launched.domid)
    assert scene.xen.guests[launched.domid].paused == 0


def test_sealed_files_cannot_be_changed_by_who_has_them() -> None:
    import os

    from hypervisor.xen.sealed import sealed

    with sealed("kernel", b"K" * 10) as descriptor:
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"X", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
        assert os.pread(descriptor, 20, 0) == b"K" * 10


def test_the_driver_of_a_machine_without_xen_says_so() -> None:
    with pytest.raises(XenError) as refused:
        XenDriver.here({})
    assert refused.value.code == "xen-binding"

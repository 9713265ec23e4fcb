"""The launch rule: the order of its steps, the way back from every one of them, and the demo's domains."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from acm import policyfile
from acm.mls import Level, Range, point
from hypervisor import hostconfig, xlconfig
from hypervisor.attach import RelabelResource
from hypervisor.domctl import DestroyDomain
from hypervisor.errors import (
    AccessDenied,
    HypervisorInputError,
    NoSuchObjectError,
    OutOfResourceError,
    PolicyMismatch,
    ResourceMismatchError,
    Undecided,
)
from hypervisor.folder import FolderSource
from hypervisor.host import KERNEL_GFN, XenHost
from hypervisor.ports import LaunchMeasurement, VtpmOrder
from hypervisor.state import DOM0, AccessMode, DomainStatus, GrantKind, Resource, ResourceKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from acm.policy import Policy
    from hypervisor.hostconfig import HostDescription

from tests.hypervisor.examples import POLICY
from tests.hypervisor.outside import CONFIG, Outside, edited


@pytest.fixture
def outside(host: XenHost) -> Outside:
    return Outside(host, {"kernel": b"K" * 5000, "ramdisk": b"R" * 4096})


def test_a_launch_takes_its_steps_in_order(host: XenHost, outside: Outside) -> None:
    launched = outside.launcher().launch(CONFIG)
    assert outside.steps == ["read kernel", "read ramdisk", "vtpm", "measured", "meter"]
    domain = host.state.domain(launched.domid)
    assert (domain.status, domain.label, domain.label_sealed) == (DomainStatus.RUNNING, "red", True)
    guest = host.guest(launched.domid)
    assert guest.read(KERNEL_GFN + 1, 0, 905) == b"K" * 904 + b"\0"
    assert guest.read(KERNEL_GFN + 2, 0, 4096) == b"R" * 4096
    launched.disks[0].write(0, bytes(512))
    assert host.counters(launched.domid).blk_wr_ops == 1


def test_what_is_measured_is_what_runs(outside: Outside) -> None:
    launched = outside.launcher().launch(CONFIG)
    assert launched.measurement == LaunchMeasurement(
        vid="00000000000040008000000000000002",
        name="web",
        uuid="00000000-0000-4000-8000-000000000001",
        label="red",
        config_digest=hashlib.sha256(CONFIG).hexdigest(),
        kernel=hashlib.sha256(b"K" * 5000).hexdigest(),
        ramdisk=hashlib.sha256(b"R" * 4096).hexdigest(),
        disks=("xvda rw uuid:00000000-0000-0000-0000-00000000000a",),
        policy_digest=outside.host.state.policy.digest,
        binding_digest="b" * 64,
    )
    assert outside.ordered == [
        VtpmOrder(
            vid=launched.vid,
            domain=launched.uuid,
            label="red",
            ste_types=("red",),
            chwall_types=(),
            mls=None,
            trusted=False,
            policy_digest=outside.host.state.policy.digest,
            policy_version="1.0",
        )
    ]


def levelled() -> Policy:
    """The test policy with two levels, which red and Domain-0 both span."""
    both, low = ", mls: {low: low, high: high}}", ", mls: low}"
    text = POLICY.decode() + "mls: {levels: [low, high], trusted: [dom0, red]}\n"
    lines = [
        line.removesuffix("}") + (both if line.startswith(("  dom0:", "  red: {ste: [")) else low)
        if line.startswith("  ")
        else line
        for line in text.splitlines()
    ]
    return policyfile.load("\n".join(lines).encode())


def test_the_vtpm_is_ordered_with_the_levels_that_the_label_spans(
    description: HostDescription,
) -> None:
    host = XenHost(description, levelled())
    outside = Outside(host, {"kernel": b"K" * 5000, "ramdisk": b"R" * 4096})
    launcher = outside.launcher()
    launcher.launch(edited(b"disk = [ '/dev/red,raw,xvda,rw' ]\nvif = [ 'vlan=1' ]\n", b""))
    spans = Range(Level(0, "low"), Level(1, "high"))
    assert [(each.mls, each.trusted) for each in outside.ordered] == [(spans, True)]
    blue = edited(b"disk = [ '/dev/red,raw,xvda,rw' ]\nvif = [ 'vlan=1' ]\n", b"").replace(b"=red", b"=blue")
    launcher.launch(blue.replace(b'"web"', b'"sky"'))
    assert (outside.ordered[-1].mls, outside.ordered[-1].trusted) == (point(Level(0, "low")), False)


def test_a_dry_run_is_refused_like_a_launch_and_takes_no_step(
    host: XenHost, outside: Outside, start: Callable[..., int]
) -> None:
    start("red-east")
    before = host.state
    with pytest.raises(AccessDenied) as denied:
        outside.launcher().dry_run(edited(b"label=red", b"label=red-west"))
    assert denied.value.code == "chwall-conflict"
    assert list(host.trail)[-1].action == "dry run of web"
    assert outside.launcher().dry_run(CONFIG).name == "web"
    assert host.state is before
    assert set(outside.steps) <= {"read kernel", "read ramdisk"}


def test_an_interface_has_the_address_of_its_config_or_one_of_its_own(outside: Outside) -> None:
    launcher = outside.launcher()
    launched = launcher.launch(edited(b"'vlan=1'", b"'vlan=1,mac=00:16:3e:12:34:56'"))
    assert launched.vifs[0].mac == bytes.fromhex("00163e123456")
    launcher.stop(launched)
    assert launcher.launch(CONFIG).vifs[0].mac[:3] == bytes.fromhex("00163e")


def test_a_stop_gives_the_last_reading_and_leaves_nothing(host: XenHost, outside: Outside) -> None:
    before = host.state
    launcher = outside.launcher()
    launched = launcher.launch(CONFIG)
    host.add_work(launched.domid, 1000)
    host.run(1000)
    outside.steps.clear()
    launcher.stop(launched)
    assert outside.steps == ["meter stopped", "stop measured", "vtpm destroyed"]
    assert outside.readings[-1].counters.cpu_ns == 1000
    assert host.state == before
    assert host._memory.touched() == 0
    with pytest.raises(NoSuchObjectError):
        launcher.stop(launched)


def test_a_stop_that_cannot_be_recorded_leaves_all_as_it_was(host: XenHost, outside: Outside) -> None:
    """Else a guest that fills the trail's disk would run on without its vTPM, measured as stopped."""
    launcher = outside.launcher()
    launched = launcher.launch(CONFIG)
    before, steps = host.state, list(outside.steps)

    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    host.trail._sink = full
    with pytest.raises(OSError, match="No space"):
        launcher.stop(launched)
    assert host.state is before
    assert outside.steps == steps
    launched.disks[0].write(0, bytes(512))
    launched.vifs[0].send(b"\xff" * 6, b"still there")
    host.trail._sink = None
    launcher.stop(launched)
    assert outside.steps == [*steps, "meter stopped", "stop measured", "vtpm destroyed"]


@pytest.mark.parametrize("step", ["meter stopped", "stop measured", "vtpm destroyed"])
def test_a_step_that_fails_after_the_end_of_a_domain_is_told_and_stops_no_other(
    step: str, host: XenHost, outside: Outside
) -> None:
    launcher = outside.launcher()
    launched = launcher.launch(CONFIG)
    outside.steps.clear()
    outside.fail_at = step
    with pytest.raises(RuntimeError, match=f"{step} failed"):
        launcher.stop(launched)
    assert launched.domid not in host.state.domains
    ends = ["meter stopped", "stop measured", "vtpm destroyed"]
    assert outside.steps == [each for each in ends if each != step]


def test_a_domain_has_the_uuid_of_its_config(outside: Outside) -> None:
    wanted = "0a1ce000-0000-4000-8000-000000000042"
    config = edited(b"memory = 8", b'memory = 8\nuuid = "%b"' % wanted.encode())
    launched = outside.launcher().launch(config)
    assert (launched.uuid, outside.measured[0].uuid, outside.ordered[0].domain) == (wanted,) * 3


def test_a_dry_run_finds_that_a_file_is_missing(outside: Outside) -> None:
    outside.fail_at = "read ramdisk"
    with pytest.raises(RuntimeError, match="read ramdisk failed"):
        outside.launcher().dry_run(CONFIG)


def test_a_stop_spares_the_successor_of_a_domain_that_is_gone(host: XenHost, outside: Outside) -> None:
    launcher = outside.launcher()
    first = launcher.launch(CONFIG)
    host.invoke(DestroyDomain(DOM0, first.domid))
    second = launcher.launch(CONFIG)
    assert second.domid == first.domid
    stale = replace(first, vid=second.vid, measurement=second.measurement)
    with pytest.raises(NoSuchObjectError):
        launcher.stop(stale)
    assert host.state.domain(second.domid).uuid == second.uuid


@pytest.mark.parametrize(
    ("config", "error", "code"),
    [
        (edited(b"label=red", b"label=green"), AccessDenied, "ste-no-shared-type"),
        (edited(b"/dev/red", b"/dev/green"), AccessDenied, "ste-no-shared-type"),
        (edited(b"vlan=1", b"vlan=2"), AccessDenied, "ste-no-shared-type"),
        (edited(b"/dev/red", b"/dev/unlisted"), AccessDenied, "unlabeled-confined"),
        (edited(b"vlan=1", b"vlan=9"), AccessDenied, "unlabeled-confined"),
        (edited(b'access_control = [ "policy=test,label=red" ]', b""), AccessDenied, "unlabeled-confined"),
        (edited(b"label=red", b"label=purple"), Undecided, "unknown-label"),
        (edited(b"policy=test", b"policy=other"), PolicyMismatch, "policy-mismatch"),
    ],
)
def test_a_refused_launch_reads_nothing_and_is_recorded(
    config: bytes, error: type[Exception], code: str, host: XenHost, outside: Outside
) -> None:
    before = host.state
    with pytest.raises(error) as refused:
        outside.launcher().launch(config)
    assert refused.value.code == code  # type: ignore[attr-defined]  # all of them have one
    assert host.state is before
    assert outside.steps == []
    assert [(record.who, record.outcome, record.why[0][0]) for record in host.trail] == [
        ("toolstack", "denied", code)
    ]


def test_all_reasons_are_given_at_once(outside: Outside) -> None:
    with pytest.raises(AccessDenied) as denied:
        outside.launcher().launch(edited(b"/dev/red", b"/dev/green").replace(b"vlan=1", b"vlan=2"))
    assert len(denied.value.decision.reasons) == 1
    outside.host.invoke(RelabelResource(DOM0, "vlan:2", "green", "blue"))
    with pytest.raises(AccessDenied) as denied:
        outside.launcher().launch(edited(b"/dev/red", b"/dev/green").replace(b"vlan=1", b"vlan=2"))
    assert len(denied.value.decision.reasons) == 2


def test_a_path_that_now_leads_elsewhere_does_not_carry_the_label_along(
    description: HostDescription, policy: Policy
) -> None:
    """The label is the identity's: when a path is given to another disk, that disk keeps its own label."""
    red, green, *rest = description.resources
    swapped = replace(
        description, resources=(replace(red, path="/dev/x"), replace(green, path="/dev/red"), *rest)
    )
    host = XenHost(swapped, policy)
    with pytest.raises(AccessDenied):
        Outside(host, {"kernel": b"K", "ramdisk": b"R"}).launcher().launch(CONFIG)


def test_a_disk_known_by_its_content_must_have_it(description: HostDescription, policy: Policy) -> None:
    content = b"tools".ljust(1024, b"!")
    identity = "sha256:" + hashlib.sha256(content).hexdigest()
    rom = Resource(ResourceKind.DISK, identity, "red", AccessMode.READ, "tools.img", 1)
    host = XenHost(replace(description, resources=(*description.resources, rom)), policy)
    outside = Outside(host, {"kernel": b"K", "ramdisk": b"R", "tools.img": content})
    config = edited(b"/dev/red,raw,xvda,rw", b"tools.img,raw,xvda,r")
    launched = outside.launcher().launch(config)
    assert launched.disks[0].read(0, 3) == content.ljust(1536, b"\0")
    assert launched.measurement.disks == (f"xvda r {identity}",)
    outside.launcher().stop(launched)
    outside.files["tools.img"] = content.replace(b"!", b"?", 1)
    with pytest.raises(ResourceMismatchError):
        outside.launcher().launch(config)


def test_memory_must_hold_images_and_drivers(outside: Outside) -> None:
    with pytest.raises(OutOfResourceError, match="too small"):
        outside.launcher().launch(edited(b"memory = 8", b"memory = 5"))


@pytest.fixture
def embedded(repository: Path) -> Outside:
    folder = repository / "configs/hosts"
    description = hostconfig.parse((folder / "embedded.yaml").read_bytes())
    host = XenHost(description, policyfile.load((folder / description.policy).read_bytes()))
    return Outside(host, {"vmlinuz": b"K" * 9000, "initrd.img": b"R" * 9000})


@pytest.fixture
def demo(repository: Path) -> Callable[[str], bytes]:
    return lambda name: (repository / f"configs/hosts/{name}.cfg").read_bytes()


def test_the_demo_three_run_and_two_are_refused(embedded: Outside, demo: Callable[[str], bytes]) -> None:
    host, running = embedded.host, {}
    launcher = embedded.launcher()
    for name in ("cola-web", "cola-db", "bank-web"):
        running[name] = launcher.launch(demo(name)).domid
    for name, code in (("juice-web", "chwall-conflict"), ("cola-reports", "ste-no-shared-type")):
        with pytest.raises(AccessDenied) as denied:
            launcher.launch(demo(name))
        assert denied.value.code == code
    web, database, bank = (host.guest(domid) for domid in running.values())
    port = web.bind_interdomain(database.domid, database.alloc_unbound(web.domid))
    web.send(port)
    database.write(0, 0, b"rows")
    handle = web.map_grant(
        database.domid, database.grant_access(web.domid, 0, GrantKind.READ), writable=False
    )
    assert web.read_mapped(handle, 0, 4) == b"rows"
    for act in (
        lambda: bank.alloc_unbound(web.domid),
        lambda: bank.map_grant(web.domid, web.grant_access(bank.domid, 0, GrantKind.READ), writable=False),
    ):
        with pytest.raises(AccessDenied):
            act()


def test_the_competitor_runs_alone(embedded: Outside, demo: Callable[[str], bytes]) -> None:
    embedded.launcher().launch(demo("juice-web"))
    with pytest.raises(AccessDenied):
        embedded.launcher().check(xlconfig.parse(demo("cola-db")))


def test_files_come_only_from_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "boot"
    (root / "sub").mkdir(parents=True)
    (root / "sub/kernel").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    (root / "link").symlink_to("sub/kernel")
    (root / "out").symlink_to("../secret")
    source = FolderSource(root)
    (root / "way").symlink_to("sub")
    assert source.read("sub/kernel", 6) == source.read("sub//./kernel", 6) == b"inside"
    for path in (
        "../secret",
        "sub/../../secret",
        "out",
        "link",
        "way/kernel",
        str(tmp_path / "secret"),
        ".",
        "",
        "sub",
        "a\0b",
    ):
        with pytest.raises(HypervisorInputError):
            source.read(path, 100)
    with pytest.raises(HypervisorInputError, match="larger"):
        source.read("sub/kernel", 5)
    with pytest.raises(FileNotFoundError):
        source.read("missing", 5)

"""The launch rule: what is decided, measured, labelled and started is one and the same thing, or nothing is.

Order: parse; decide (Chinese Wall, authority, every disk and VLAN); take private copies of kernel and
ramdisk, so that the bytes that are hashed are the bytes that run; create a paused domain of them; attach;
make the vTPM; measure; start; connect devices; tell the meter. A failure at any step takes all earlier ones
back in reverse. A measurement cannot be taken back: the end of the domain is measured instead.

The rule is one for every kind of host: what differs is behind :class:`hypervisor.toolstack.LaunchHost`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from acm.labels import UNLABELED
from hypervisor import verity
from hypervisor.attach import AttachResource
from hypervisor.errors import NoSuchObjectError, PolicyMismatch, ResourceMismatchError
from hypervisor.ports import (
    DomainReading,
    FileSource,
    LaunchMeasurement,
    Measurer,
    Meter,
    VtpmOrder,
    VtpmProvider,
)
from hypervisor.state import DOM0, AccessMode, Resource, ResourceKind
from hypervisor.toolstack import DomainOrder, LaunchHost
from hypervisor.transition import authorize, start, use
from hypervisor.undo import Undo
from hypervisor.xlconfig import DomainConfig, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hypervisor.blkif import BlockDevice
    from hypervisor.netif import NetDevice
    from hypervisor.xlspec import DiskSpec, VifSpec

MAX_IMAGE: Final = 512 << 20
"""Bytes of a kernel, a ramdisk, or a disk that is known by its content."""


@dataclass(frozen=True, slots=True)
class LaunchedDomain:
    """A domain that runs: its numbers, what it was measured by, and its devices in the config's order."""

    domid: int
    uuid: str
    vid: str
    config: DomainConfig
    measurement: LaunchMeasurement
    disks: tuple[BlockDevice, ...]
    vifs: tuple[NetDevice, ...]


@dataclass(frozen=True, slots=True)
class _Disk:
    spec: DiskSpec
    resource: Resource
    content: bytes


@dataclass(frozen=True, slots=True)
class _Order:
    """A launch with every byte in private copy and every name resolved."""

    config: DomainConfig
    uuid: str
    vid: str
    kernel: bytes
    ramdisk: bytes | None
    disks: tuple[_Disk, ...]
    vlans: tuple[tuple[VifSpec, Resource], ...]


class Launcher:
    """Starts and stops domains on a host.

    ``new_uuid`` gives a fresh random UUID (8-4-4-4-12 hex) for each domain without one and for each vTPM.
    Without a ``meter`` nothing is read and nothing is billed.
    """

    def __init__(
        self,
        host: LaunchHost,
        *,
        files: FileSource,
        measurer: Measurer,
        vtpms: VtpmProvider,
        meter: Meter | None,
        new_uuid: Callable[[], str],
    ) -> None:
        self._host = host
        self._files = files
        self._measurer = measurer
        self._vtpms = vtpms
        self._meter = meter
        self._new_uuid = new_uuid

    def dry_run(self, config: bytes) -> DomainConfig:
        """Take every step of a launch that changes nothing: parse, decide, read kernel, ramdisk and disks.

        Raises what :meth:`launch` raises for these steps; refusals are recorded as of a dry run.
        """
        parsed = parse(config)
        self.check(parsed, "dry run")
        self._gather(parsed)
        return parsed

    def check(self, config: DomainConfig, what: str = "launch") -> None:
        """Ask the policy whether this launch would be permitted now, without acting.

        Raises AccessDenied with all reasons, Undecided, PolicyMismatch; all are recorded.
        """
        enforced = self._host.state.policy
        if config.policy not in (None, enforced.name):
            message = f"{config.name} is written for policy {config.policy}; {enforced.name} is enforced"
            raise self._host.monitor.refuse(what, PolicyMismatch("policy-mismatch", message))
        self._host.admit(config)
        state, requests = self._host.state, []
        host = state.domain(DOM0).label
        requests += [start(config.label, host, state.running_labels()), authorize(host, config.label)]
        for disk in config.disks:
            found = self._host.description.disk(disk.target)
            requests += use(config.label, self._label(found), disk.access)
        for vif in config.vifs:
            found = self._host.description.vlan(vif.vlan)
            requests += use(config.label, self._label(found), AccessMode.WRITE, ResourceKind.VLAN)
        self._host.monitor.judge(f"{what} of {config.name}", requests)

    def launch(self, config: bytes) -> LaunchedDomain:
        """Launch a domain from the bytes of its xl config.

        Raises ConfigError, HypervisorDenied, HypervisorUsageError, ResourceMismatchError, OSError (files),
        and what measurer, vTPM provider and meter raise; then the host is as before, and notes on the error
        tell of any step that could not be taken back.
        """
        parsed = parse(config)
        self.check(parsed)
        order = self._gather(parsed)
        undo = Undo()
        with undo.on_failure():
            return self._carry_out(order, undo)

    def stop(self, launched: LaunchedDomain) -> None:
        """End a domain: last reading, destroy, measure the stop, wipe the vTPM.

        Raises what keeps the domain from being destroyed; then it is as before, its vTPM included. After
        that every step is taken; raises the first failure among them, NoSuchObjectError when the domain was
        destroyed by other means.
        """
        failures: list[Exception] = []
        last = None
        try:
            last = self._last_reading(launched)
        except Exception as error:  # noqa: BLE001 - no failure of the meter keeps a domain alive
            failures.append(error)
        present = self._host.state.domains.get(launched.domid)
        if present is not None and present.uuid == launched.uuid:
            self._host.destroy(launched.domid)
        failures += self._end(launched, last)
        for failure in failures:
            raise failure

    def retire(self, launched: Sequence[LaunchedDomain], act: Callable[[], int]) -> int:
        """End domains by ``act``, which destroys them all or raises and has done nothing; return its result.

        Like :meth:`stop`, every step is taken after that; raises the first failure among them.
        """
        readings = [self._last_reading(each) for each in launched]
        result = act()
        failures = [
            failure
            for each, last in zip(launched, readings, strict=True)
            for failure in self._end(each, last)
        ]
        for failure in failures:
            raise failure
        return result

    def _end(self, launched: LaunchedDomain, last: DomainReading | None) -> Iterator[Exception]:
        """Take the steps that follow a domain's destruction; yield those that failed."""
        ways = Undo()
        ways.push("vTPM", lambda: self._vtpms.destroy(launched.vid))
        ways.push("measurement", lambda: self._measurer.measure_stop(launched.measurement))
        ways.push("meter", lambda: self._settle(last))
        for _, failure in ways.run():
            yield failure

    def _last_reading(self, launched: LaunchedDomain) -> DomainReading | None:
        if self._host.state.domain(launched.domid).uuid != launched.uuid:
            raise NoSuchObjectError("no-domain", f"domain {launched.domid} is another one by now")
        return None if self._meter is None else self._host.reading(launched.domid)

    def _settle(self, last: DomainReading | None) -> None:
        if self._meter is not None and last is not None:
            self._meter.stopped(last)

    def _gather(self, config: DomainConfig) -> _Order:
        kernel = self._files.read(config.kernel, MAX_IMAGE)
        ramdisk = self._files.read(config.ramdisk, MAX_IMAGE) if config.ramdisk is not None else None
        uuid = config.uuid or self._new_uuid()
        vid = self._new_uuid().replace("-", "")
        disks = tuple(self._disk(disk) for disk in config.disks)
        vlans = tuple((vif, self._vlan(vif)) for vif in config.vifs)
        return _Order(config, uuid, vid, kernel, ramdisk, disks, vlans)

    def _disk(self, spec: DiskSpec) -> _Disk:
        resource = self._host.description.disk(spec.target)
        if resource is None:
            raise NoSuchObjectError("no-resource", f"this host has no disk {spec.target}")
        kind, _, digest = resource.identity.partition(":")
        content = b""
        if kind == "verity":
            image = self._files.read(str(resource.path), MAX_IMAGE)
            content = verity.data_of(image, resource.size_mib << 20, digest)
        elif kind == "sha256":
            content = self._files.read(str(resource.path), MAX_IMAGE)
            if hashlib.sha256(content).hexdigest() != digest:
                raise ResourceMismatchError(
                    "disk-content", f"{resource.path} does not hold {resource.identity}"
                )
        return _Disk(spec, resource, content)

    def _vlan(self, spec: VifSpec) -> Resource:
        resource = self._host.description.vlan(spec.vlan)
        if resource is None:
            raise NoSuchObjectError("no-resource", f"this host has no VLAN {spec.vlan}")
        return resource

    def _carry_out(self, order: _Order, undo: Undo) -> LaunchedDomain:
        domid = self._host.create(self._wanted(order))
        undo.push("domain", lambda: self._host.take_back(domid))
        for disk in order.disks:
            self._attach(domid, disk.resource, disk.spec.access)
        for _, resource in order.vlans:
            self._attach(domid, resource, AccessMode.WRITE)
        binding = self._make_vtpm(order, undo)
        measurement = self._measure(order, binding, undo)
        self._host.unpause(domid)
        disks = tuple(
            self._host.connect_disk(domid, disk.resource.identity, disk.content) for disk in order.disks
        )
        vifs = tuple(
            self._host.connect_vif(domid, resource.identity, spec.mac or _mac(order.uuid, spec.vlan))
            for spec, resource in order.vlans
        )
        if self._meter is not None:
            self._meter.started(self._host.reading(domid))
        return LaunchedDomain(domid, order.uuid, order.vid, order.config, measurement, disks, vifs)

    def _wanted(self, order: _Order) -> DomainOrder:
        config = order.config
        return DomainOrder(
            uuid=order.uuid,
            name=config.name,
            label=config.label,
            memory_mib=config.memory_mib,
            vcpus=config.vcpus,
            weight=config.weight,
            cap=config.cap,
            cmdline=config.cmdline,
            kernel=order.kernel,
            ramdisk=order.ramdisk,
            config_digest=config.digest,
        )

    def _attach(self, domid: int, resource: Resource, mode: AccessMode) -> None:
        # No way back of its own: destroying the domain drops its attachments.
        self._host.invoke(AttachResource(DOM0, domid, resource.identity, mode))

    def _make_vtpm(self, order: _Order, undo: Undo) -> str:
        engine = self._host.monitor.engine
        label = engine.label(order.config.label)
        policy = self._host.state.policy
        wanted = VtpmOrder(
            vid=order.vid,
            domain=order.uuid,
            label=label.name,
            ste_types=tuple(sorted(label.ste)),
            chwall_types=tuple(sorted(label.chwall)),
            mls=label.mls,
            trusted=engine.trusts(label.name),
            policy_digest=policy.digest,
            policy_version=policy.version,
        )
        binding = self._vtpms.create(wanted)
        undo.push("vTPM", lambda: self._vtpms.destroy(order.vid))
        return binding

    def _measure(self, order: _Order, binding: str, undo: Undo) -> LaunchMeasurement:
        measurement = LaunchMeasurement(
            vid=order.vid,
            name=order.config.name,
            uuid=order.uuid,
            label=order.config.label,
            config_digest=order.config.digest,
            kernel=hashlib.sha256(order.kernel).hexdigest(),
            ramdisk=None if order.ramdisk is None else hashlib.sha256(order.ramdisk).hexdigest(),
            disks=tuple(
                f"{disk.spec.vdev} {disk.spec.access} {disk.resource.identity}" for disk in order.disks
            ),
            policy_digest=self._host.state.policy.digest,
            binding_digest=binding,
        )
        self._measurer.measure_launch(measurement)
        undo.push("measurement", lambda: self._measurer.measure_stop(measurement))
        return measurement

    def _label(self, resource: Resource | None) -> str:
        """Return the present label of a resource; what the host does not list has none."""
        if resource is None:
            return UNLABELED.name
        return self._host.state.resource(resource.identity).label


def _mac(uuid: str, vlan: int) -> str:
    """Return an address of Xen's range (00:16:3e) that a domain keeps over its launches."""
    digest = hashlib.sha256(f"{uuid} {vlan}".encode()).digest()
    return "00:16:3e:" + ":".join(f"{byte:02x}" for byte in digest[:3])

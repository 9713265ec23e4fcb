"""What the checks of all defects have in common: a small policy and a host of it."""

from __future__ import annotations

from itertools import count

from acm import policyfile
from hypervisor import hostconfig
from hypervisor.domctl import CreateDomain, UnpauseDomain
from hypervisor.guest import Guest
from hypervisor.host import XenHost
from hypervisor.state import DOM0

HEAD = """
format: shype.policy/1
name: test
version: "1.0"
bootstrap: dom0
"""
STE = """
ste: {types: [red, green]}
"""
CHWALL = """
chwall:
  types: [a1, a2, b1, b2]
  conflict_sets: {a: [a1, a2], b: [b1, b2]}
"""
LABELS = """
domain_labels:
  dom0: {ste: [red, green]}
  red: {ste: [red]}
  green: {ste: [green]}
  both: {ste: [red, green]}
  first-a: {ste: [red], chwall: [a1]}
  other-a: {ste: [red], chwall: [a2]}
  first-b: {ste: [red], chwall: [b1]}
  other-b: {ste: [red], chwall: [b2]}
"""
HOST = b"""
schema: shype.host/1
name: test
pcpus: 1
memory: 32 MiB
dom0: {label: dom0, memory: 1 MiB, vcpus: 1}
profile: p.yaml
policy: p.yaml
resources: []
"""
SECRET = b"the secret of red"

_NUMBERS = count(1)


def host(text: str = HEAD + STE + CHWALL + LABELS) -> XenHost:
    """Return a host that has just booted under a policy."""
    return XenHost(hostconfig.parse(HOST), policyfile.load(text.encode()))


def create(where: XenHost, label: str) -> int:
    """Make a paused domain."""
    number = next(_NUMBERS)
    call = CreateDomain(DOM0, f"00000000-0000-4000-8000-{number:012x}", f"d{number}", label, 1, 1)
    return where.invoke(call)


def start(where: XenHost, label: str) -> Guest:
    """Run a domain that has a secret in its first page."""
    domid = create(where, label)
    where.invoke(UnpauseDomain(DOM0, domid))
    guest = where.guest(domid)
    guest.write(0, 0, SECRET)
    return guest

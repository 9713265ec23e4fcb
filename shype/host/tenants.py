"""Whose a domain is: who pays for it, and who may see it in evidence. By default that is its label."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Final

from hypervisor.launch import LaunchedDomain
from metering.record import tenant_bytes
from shype.errors import NoDomainError

_SHOWN: Final = 80


@dataclass(slots=True)
class Tenants:
    """The tenants of domains that were launched for one by name, by the domain's name."""

    _named: dict[str, str] = field(default_factory=dict)

    def expect(self, name: str, tenant: str | None) -> None:
        """Take note of whose a domain is that is about to be launched; raises MeteringUsageError."""
        if tenant is not None:
            self._named[name] = tenant_bytes(tenant).rstrip(b"\0").decode()

    def of(self, name: str, label: str) -> str:
        """Return the tenant of a domain."""
        return self._named.get(name, label)

    def keep(self, names: Container[str]) -> None:
        """Forget all domains but these."""
        for name in [each for each in self._named if each not in names]:
            del self._named[name]

    def vids(self, tenant: str, launched: Mapping[str, LaunchedDomain]) -> frozenset[str]:
        """Return the vTPMs of a tenant's domains, at least one; raises NoDomainError."""
        own = (each for name, each in launched.items() if self.of(name, each.config.label) == tenant)
        found = frozenset(each.vid for each in own)
        if not found:
            raise NoDomainError(f"no domain of tenant {tenant[:_SHOWN]!a} runs on this host")
        return found

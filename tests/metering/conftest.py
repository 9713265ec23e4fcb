"""Fixtures of the metering tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.metering.world import Site, metered_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A host with two domains of acme and one of zeta, metered for 20 ticks and not yet signed."""
    made = metered_site(tmp_path / "log")
    yield made
    made.meter.abandon()

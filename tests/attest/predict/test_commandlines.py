"""What Xen and dom0's kernel run with: predicted by one, played by the embedded host's Xen, and equal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.boot.xen import hand_over
from attest.predict.commandlines import MAX_LINE, CommandLines, command_lines

WORDS = st.sampled_from(
    (
        *("", " ", "--", "noapic", "no-noapic", "noapic=off", "noapic=1", "no-noapic=no", "noapic=x"),
        *("acpi", "acpi=", "acpi=off", "acpi=force", "acpi=ht", "acpi=verbose", "acpi=1"),
        *("no-acpi", "no-acpi=1", "no-acpi=", "console=hvc0", "é", "x" * 600),
    )
)
LINES = st.lists(WORDS, max_size=8).map(" ".join)


@pytest.mark.parametrize(
    ("xen", "dom0", "expected"),
    [
        # read in the lab from /proc/cmdline: GRUB gives the placeholder on, the image has none
        (
            "placeholder a",
            "placeholder console=hvc0 ro quiet",
            ("placeholder a", "placeholder console=hvc0 ro quiet"),
        ),
        ("a", "console=hvc0 ro quiet", ("a", "console=hvc0 ro quiet")),
        ("", "", ("", "")),
        (" a ", "  ro ", ("a ", "ro ")),
        ("a -- b -- c", "ro", ("a", "ro b -- c")),
        ("a --    b", "", ("a", " b")),
        ("a -- ", "ro", ("a", "ro ")),
        ("a --", "ro", ("a --", "ro")),
        ("noapic", "ro", ("noapic", "ro noapic")),
        ("noapic", "lsm=noapic", ("noapic", "lsm=noapic")),
        ("no-noapic noapic=off", "ro", ("no-noapic noapic=off", "ro")),
        ("acpi=off", "ro", ("acpi=off", "ro acpi=off")),
        ("acpi=off acpi=verbose acpi=x", "ro", ("acpi=off acpi=verbose acpi=x", "ro acpi=off")),
        ("acpi=off acpi=force", "pnpacpi=x", ("acpi=off acpi=force", "pnpacpi=x")),
        ("no-acpi", "ro", ("no-acpi", "ro acpi=no")),
        ("a" * 2000, "b" * 2000, ("a" * MAX_LINE, "b" * MAX_LINE)),
        ("a -- c", "b" * 1020, ("a", "b" * 1020 + " c")),
        ("a -- cdef", "b" * 1020, ("a", "b" * 1020 + " cd")),
    ],
)
def test_each_line_is_what_is_run_with(xen: str, dom0: str, expected: tuple[str, str]) -> None:
    assert command_lines(xen, dom0) == CommandLines(*expected)


@given(LINES, LINES)
def test_the_embedded_host_s_xen_does_as_predicted(xen: str, dom0: str) -> None:
    found = command_lines(xen, dom0)
    assert hand_over(xen, dom0) == (found.xen, found.dom0)

"""xl domain configs: what is read, what is refused and where, and that nothing else is ever raised."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hypervisor import xlconfig
from hypervisor.errors import ConfigError
from hypervisor.state import AccessMode
from hypervisor.xlspec import DiskSpec, VifSpec

if TYPE_CHECKING:
    from pathlib import Path

MINIMAL = b'name = "web"\nkernel = "vmlinuz"\nmemory = 64\n'

FULL = b"""
# A comment; name = "not this"
name='web'; type = "pvh"   # two pairs in one line
uuid = "0C01A000-0000-4000-8000-000000000001"
kernel = "boot/vmlinuz"
ramdisk = "boot/initrd \\"q\\" \\\\ x"
root = '/dev/xvda ro'
extra = "quiet"
memory = 0x100
maxmem = 256
vcpus = 02
maxvcpus = 2
cpu_weight = 512
cap = 150
on_crash = "destroy"
disk = [
    '/dev/vg/web,raw,xvda,rw',
    'vdev=xvdb, access=ro, target=uuid:1,2:3 ',  # the target takes the rest

    "/dev/rom,,xvdc,r"
  ,
]
vif = [ 'vlan=7p, mac=00:16:3E:00:00:01, bridge=xenbr0', 'vlan=8', ]
access_control = [ "policy=data.center,label=web server" ]
"""


def test_a_full_config_is_read_as_meant() -> None:
    config = xlconfig.parse(FULL)
    assert config == xlconfig.DomainConfig(
        name="web",
        kernel="boot/vmlinuz",
        ramdisk='boot/initrd "q" \\ x',
        cmdline="root=/dev/xvda ro quiet",
        memory_mib=256,
        vcpus=2,
        weight=512,
        cap=150,
        disks=(
            DiskSpec("/dev/vg/web", "xvda", AccessMode.WRITE),
            DiskSpec("uuid:1,2:3 ", "xvdb", AccessMode.READ),
            DiskSpec("/dev/rom", "xvdc", AccessMode.READ),
        ),
        vifs=(VifSpec(7, "00:16:3e:00:00:01", "xenbr0"), VifSpec(8)),
        label="web server",
        policy="data.center",
        uuid="0c01a000-0000-4000-8000-000000000001",
        type="pvh",
        digest=hashlib.sha256(FULL).hexdigest(),
    )


def test_defaults() -> None:
    config = xlconfig.parse(MINIMAL)
    assert (config.vcpus, config.weight, config.cap, config.type) == (1, 256, 0, "pv")
    assert (config.label, config.policy, config.ramdisk, config.cmdline) == ("__UNLABELED__", None, None, "")


def test_the_schema_describes_what_is_read(repository: Path) -> None:
    schema = json.loads((repository / "configs/schema/domain.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for data in (FULL, MINIMAL):
        jsonschema.validate(json.loads(json.dumps(asdict(xlconfig.parse(data)))), schema)


@pytest.mark.parametrize(
    ("line", "code", "column"),
    [
        ("bogus = 1", "unknown-key", 1),
        ("seclabel = 'x'", "unknown-key", 1),
        ("name = 'again'", "duplicate-key", 1),
        ("vcpus = '2'", "wrong-type", 9),
        ("vcpus = 0", "out-of-range", 9),
        ("vcpus = 129", "out-of-range", 9),
        ("vcpus = 08", "number", 9),
        ("vcpus = 1111111111111111111111", "number", 9),
        ("vcpus = 2 3", "syntax", 11),
        ("vcpus 2", "syntax", 7),
        ("vcpus = ", "syntax", 9),
        ("vcpus += 2", "syntax", 7),
        ("Vcpus = 2", "syntax", 1),
        ("vcpus = -1", "syntax", 9),
        ("vcpus = [", "syntax", 1),
        ("extra = 'open", "open-string", 9),
        ('extra = "\\n"', "escape", 9),
        ("extra = 5", "wrong-type", 9),
        ("extra = 'a'\nroot = 'b'\ncmdline = 'c'", "conflict", 11),
        ("maxmem = 65", "bad-value", 10),
        ("maxvcpus = 2", "bad-value", 12),
        ("type = 'hvm'", "bad-value", 8),
        ("uuid = '00000000-0000-0000-0000-000000000000'", "bad-value", 8),
        ("uuid = '{0c01a000-0000-4000-8000-000000000001}'", "bad-value", 8),
        ("disk = 'x'", "wrong-type", 8),
        ("disk = [1]", "wrong-type", 9),
        ("disk = ['x' 'y']", "syntax", 13),
        ("disk = [[[[['x']]]]]", "too-deep", 12),
        ("disk = ['a,raw']", "disk-vdev", 9),
        ("disk = [',raw,xvda']", "disk-target", 9),
        ("disk = ['a,ntfs,xvda']", "disk-format", 9),
        ("disk = ['a,,xvda,x']", "disk-access", 9),
        ("disk = ['a,,xvda,r,more']", "disk-key", 9),
        ("disk = ['a,,xvda,script=x']", "disk-key", 9),
        ("disk = ['phy:a,xvda,w']", "disk-prefix", 9),
        ("disk = ['vdev=xvda,vdev=xvdb,target=x']", "disk-key", 9),
        ("disk = ['a,,xvda', 'b,,xvda']", "duplicate-device", 20),
        ("disk = ['a,,xvda', 'a,,xvdb']", "duplicate-device", 20),
        ("vif = ['']", "vif-vlan", 8),
        ("vif = ['bridge=br0']", "vif-vlan", 8),
        ("vif = ['vlan=0']", "vif-vlan", 8),
        ("vif = ['vlan=4095']", "vif-vlan", 8),
        ("vif = ['vlan=1/2']", "vif-vlan", 8),
        ("vif = ['vlan=1,vlan=2']", "vif-key", 8),
        ("vif = ['vlan=1,ip=1.2.3.4']", "vif-key", 8),
        ("vif = ['vlan=1,mac=01:16:3e:00:00:01']", "vif-mac", 8),
        ("vif = ['vlan=1,bridge=a b']", "vif-bridge", 8),
        ("vif = ['vlan=1', 'vlan=1']", "duplicate-device", 18),
        ("access_control = ['label=x']", "label", 19),
        ("access_control = ['policy=p,label=a:b']", "label", 19),
        ("access_control = ['policy=p,label=x,type=y']", "access_control-key", 19),
        ("access_control = ['policy=p,label=x', 'policy=p,label=y']", "label", 39),
    ],
)
def test_flaws_have_a_code_and_a_place(line: str, code: str, column: int) -> None:
    with pytest.raises(ConfigError) as refused:
        xlconfig.parse(MINIMAL + line.encode() + b"\n")
    last = 4 + line.count("\n") + (line == "vcpus = [")
    assert (refused.value.code, refused.value.line, refused.value.column) == (code, last, column)
    assert f"domain config:{last}:{column}:" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "missing-key"),
        (b'name = "web"\nmemory = 64\n', "missing-key"),
        (b'name = "web"\nkernel = "vmlinuz"\n', "missing-key"),
        (b'kernel = "vmlinuz"\nmemory = 64\n', "missing-key"),
        (MINIMAL.replace(b"web", b"we b"), "bad-value"),
        (MINIMAL.replace(b"web", b"-web"), "bad-value"),
        (MINIMAL.replace(b"vmlinuz", b""), "missing-key"),
        (MINIMAL + b"# \xff\n", "not-utf-8"),
        (MINIMAL + b"# \x00\n", "character"),
        (MINIMAL + "# \u202e\n".encode(), "character"),
        (MINIMAL + b"\r", "character"),
        (MINIMAL + b"#" * (256 * 1024), "too-big"),
        (MINIMAL + b"disk = [" + b"'a,,xvda'," * 65 + b"]", "too-long"),
        (MINIMAL + b"extra = '" + b"a" * 4097 + b"'", "too-long"),
        (MINIMAL + b"disk = " + b"[" * 100_000, "too-deep"),
    ],
)
def test_broken_files_are_refused(data: bytes, code: str) -> None:
    with pytest.raises(ConfigError) as refused:
        xlconfig.parse(data)
    assert refused.value.code == code


def test_line_ends_of_other_systems_are_read() -> None:
    assert xlconfig.parse(MINIMAL.replace(b"\n", b"\r\n")).name == "web"
    assert xlconfig.parse(MINIMAL.rstrip()).memory_mib == 64


PIECES = st.lists(
    st.sampled_from(
        [
            "name",
            "disk",
            "memory",
            "=",
            "'",
            '"',
            "[",
            "]",
            ",",
            "\n",
            ";",
            "#",
            "\\",
            " ",
            "0x",
            "9",
            "+",
            "vlan=",
            "é",
        ]
    )
    | st.text(max_size=3),
    max_size=60,
).map("".join)


@settings(deadline=None, max_examples=150)
@given(data=st.binary(max_size=300) | PIECES.map(str.encode))
@example(data=b"a='\\")
@example(data=b"a=" + b"9" * 5000)
def test_any_input_is_read_or_refused(data: bytes) -> None:
    try:
        xlconfig.parse(data)
    except ConfigError as error:
        refused = error
    else:
        return
    assert refused.line >= 1
    assert refused.column >= 1
    assert "\n" not in str(refused)


@settings(deadline=None, max_examples=100)
@given(at=st.integers(0, len(FULL) - 1), change=st.integers(1, 255), cut=st.booleans())
def test_damaged_real_files_are_read_or_refused(at: int, change: int, *, cut: bool) -> None:
    damaged = FULL[:at] if cut else FULL[:at] + bytes([FULL[at] ^ change]) + FULL[at + 1 :]
    try:
        config = xlconfig.parse(damaged)
    except ConfigError:
        return
    assert config.digest == hashlib.sha256(damaged).hexdigest()

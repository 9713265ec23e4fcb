"""Reference values: encoding, strict decoding, and the set that a prediction gives."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.errors import AttestInputError
from attest.predict.flask import loaded_policy
from attest.predict.prediction import predict, predict_unified
from attest.predict.profile import load
from attest.predict.reference import reference_values
from attest.predict.unified import CLOSED
from attest.reference import (
    DomainReference,
    FlaskPolicy,
    HypervisorReference,
    LoadOptions,
    ReferenceValues,
)
from tests.attest.predict.build import CONFIG, FILES, RECORDING, reader, unified, xen_image

PROFILE = load(b"schema: shype.pcr-profile/1\nname: rack7\ngrub: {config: grub.cfg}\n")
UNIFIED = load(
    b"schema: shype.pcr-profile/1\nname: rack7\nfirmware: {recording: x}\nunified: {image: xen.efi}\n"
)
WEB = DomainReference("web", "cola-web", "11" * 32, "22" * 32, None, ("xvda rw uuid:1234",))


@pytest.fixture(scope="module")
def good() -> ReferenceValues:
    found = predict(CONFIG, reader(), ["sha256"], recording=RECORDING, loader="EFI/BOOT/BOOTX64.EFI")
    return reference_values(PROFILE, found, FILES["xen.gz"], [WEB], version=7)


def test_it_says_what_the_prediction_says(good: ReferenceValues) -> None:
    assert (good.name, good.version, good.bank) == ("rack7", 7, "sha256")
    assert good.hypervisor == HypervisorReference(
        None,
        "placeholder console=com1",
        "none",
        "none",
        bytes(range(20)).hex(),
        dom0_commandline="placeholder ro quiet",
    )
    assert good.domain("web") == WEB
    assert good.domain("db") is None
    assert set(good.pcrs) == set(range(10))


def test_it_survives_encoding(good: ReferenceValues) -> None:
    raw = good.encode()
    assert ReferenceValues.decode(raw) == good
    assert ReferenceValues.decode(raw).encode() == raw


def test_it_fits_its_schema(good: ReferenceValues, repository: Path) -> None:
    schema = json.loads((repository / "configs/schema/reference.schema.json").read_text())
    jsonschema.validate(json.loads(good.encode()), schema)


def test_it_says_whether_a_unified_image_takes_the_words_of_a_boot_entry(
    good: ReferenceValues, repository: Path
) -> None:
    closed = unified(kernel=b"kernel", ramdisk=b"ramdisk", text=CLOSED)
    for image, expected in ((closed, LoadOptions.IGNORED), (unified(), LoadOptions.TAKEN)):
        found = predict_unified(image, "xen.efi", ["sha256"], RECORDING)
        values = reference_values(UNIFIED, found, image, [], version=1)
        assert values.hypervisor.load_options is expected
        assert ReferenceValues.decode(values.encode()) == values
        schema = json.loads((repository / "configs/schema/reference.schema.json").read_text())
        jsonschema.validate(json.loads(values.encode()), schema)
    assert good.hypervisor.load_options is None, "GRUB's commands are in PCR 8"


class TestFlaskPolicy:
    POLICY = b"\x8c\xff\x7c\xf9\x08\0\0\0XenFlask"

    def test_is_the_module_that_begins_with_xen_s_magic(self) -> None:
        assert loaded_policy([b"initrd", self.POLICY]) == hashlib.sha256(self.POLICY).hexdigest()
        assert loaded_policy([b"initrd", self.POLICY[1:], b""]) is None
        with pytest.raises(AttestInputError, match="2 modules"):
            loaded_policy([self.POLICY, self.POLICY])

    def test_is_covered_by_pcr_9_under_grub_and_by_pcr_4_in_the_image(self) -> None:
        config = CONFIG.replace(b"boot\n", b"module2 --nounzip /xenpolicy\nboot\n")
        read = reader({**FILES, "xenpolicy": self.POLICY})
        found = predict(config, read, ["sha256"], recording=RECORDING, loader="EFI/BOOT/BOOTX64.EFI")
        digest = hashlib.sha256(self.POLICY).hexdigest()
        values = reference_values(PROFILE, found, FILES["xen.gz"], [], version=1, flask_policy=digest)
        assert values.hypervisor.flask_policy == FlaskPolicy(digest, 9)
        assert ReferenceValues.decode(values.encode()) == values
        image = unified(ramdisk=b"ramdisk", kernel=b"kernel", xsm=self.POLICY)
        found = predict_unified(image, "xen.efi", ["sha256"], RECORDING)
        values = reference_values(UNIFIED, found, image, [], version=1, flask_policy=digest)
        assert values.hypervisor.flask_policy == FlaskPolicy(digest, 4)
        assert ReferenceValues.decode(values.encode()) == values

    def test_fits_its_schema(self, good: ReferenceValues, repository: Path) -> None:
        schema = json.loads((repository / "configs/schema/reference.schema.json").read_text())
        for pcr in (4, 9, None):
            hypervisor = replace(good.hypervisor, flask_policy=FlaskPolicy("11" * 32, pcr))
            jsonschema.validate(json.loads(replace(good, hypervisor=hypervisor).encode()), schema)


Edit = Callable[[dict[str, Any]], object]
EDITS: dict[str, Edit] = {
    "schema": lambda top: top.update(schema="shype.reference/2"),
    "missing field": lambda top: top.pop("hypervisor"),
    "unknown field": lambda top: top.update(extra=1),
    "bank": lambda top: top.update(bank="md5"),
    "version is a flag": lambda top: top.update(version=True),
    "version below zero": lambda top: top.update(version=-1),
    "PCR number": lambda top: top["pcrs"].update({"10": "00" * 32}),
    "PCR number with a zero": lambda top: top["pcrs"].update({"08": "00" * 32}),
    "PCR size": lambda top: top["pcrs"].update({"8": "00" * 20}),
    "upper case": lambda top: top["pcrs"].update({"8": top["pcrs"]["8"].upper()}),
    "PCR value": lambda top: top["pcrs"].update({"8": "00" * 32}),
    "PCR value dropped": lambda top: top["pcrs"].pop("8"),
    "event altered": lambda top: top["events"][0].update(digest="00" * 32),
    "event dropped": lambda top: top["events"].pop(),
    "events swapped": lambda top: top["events"].insert(0, top["events"].pop(2)),
    "event without a register": lambda top: top["events"][0].update(pcr=11),
    "component": lambda top: top["events"][0].update(component="domU"),
    "event is no object": lambda top: top["events"].append([]),
    "text is a number": lambda top: top.update(name=7),
    "text with a control": lambda top: top.update(name="a\x1bb"),
    "text without encoding": lambda top: top.update(name="\ud800"),
    "build id": lambda top: top["hypervisor"].update(build_id="xyz"),
    "flask policy is a text": lambda top: top["hypervisor"].update(flask_policy="11" * 32),
    "flask policy is null": lambda top: top["hypervisor"].update(flask_policy=None),
    "dom0 command line is null": lambda top: top["hypervisor"].update(dom0_commandline=None),
    "dom0 command line has a control": lambda top: top["hypervisor"].update(dom0_commandline="a\x1bb"),
    "flask policy without a register": lambda top: top["hypervisor"].update(
        flask_policy={"sha256": "11" * 32}
    ),
    "flask policy of another file": lambda top: top["hypervisor"].update(
        flask_policy={"sha256": "11" * 32, "pcr": 9}
    ),
    "files are a list": lambda top: top.update(ima={"files": [], "any_path": []}),
    "files without any path": lambda top: top.update(ima={"files": {}}),
    "files are null": lambda top: top.update(ima=None),
    "file without a digest": lambda top: top.update(ima={"files": {"/init": []}, "any_path": []}),
    "file with a SHA-1": lambda top: top.update(ima={"files": {"/init": ["11" * 20]}, "any_path": []}),
    "file without a path": lambda top: top.update(ima={"files": {"": ["11" * 32]}, "any_path": []}),
    "file whose path has a NUL": lambda top: top.update(
        ima={"files": {"/a\0b": ["11" * 32]}, "any_path": []}
    ),
    "file whose path is too long": lambda top: top.update(
        ima={"files": {"/" * 4097: ["11" * 32]}, "any_path": []}
    ),
    "file whose path is no text": lambda top: top.update(
        ima={"files": {"/\ud800": ["11" * 32]}, "any_path": []}
    ),
    "any path is a text": lambda top: top.update(ima={"files": {}, "any_path": "11" * 32}),
    "kernel": lambda top: top["domains"][0].update(kernel=""),
    "disks": lambda top: top["domains"][0].update(disks=[1]),
    "same domain twice": lambda top: top["domains"].append(copy.deepcopy(top["domains"][0])),
}


@pytest.mark.parametrize("name", EDITS)
def test_altered_reference_values_are_refused(good: ReferenceValues, name: str) -> None:
    top = json.loads(good.encode())
    EDITS[name](top)
    with pytest.raises(AttestInputError) as caught:
        ReferenceValues.decode(json.dumps(top).encode())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"schema":1,"schema":2}',
        b'{"version":NaN}',
        b"\xff",
        b'{"a":1e999}',
    ],
)
def test_what_is_no_reference_is_refused(raw: bytes) -> None:
    with pytest.raises(AttestInputError):
        ReferenceValues.decode(raw)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_value_in_any_field_is_read_or_refused(data: st.DataObject) -> None:
    found = predict(CONFIG, reader(), ["sha256"])
    top = json.loads(reference_values(PROFILE, found, xen_image(), [WEB], version=1).encode())
    places = [top, top["pcrs"], top["events"][0], top["hypervisor"], top["domains"][0]]
    place = data.draw(st.sampled_from(places))
    field = data.draw(st.sampled_from(sorted(place)))
    place[field] = data.draw(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
            ),
            max_leaves=3,
        )
    )
    with contextlib.suppress(AttestInputError):
        ReferenceValues.decode(json.dumps(top).encode())

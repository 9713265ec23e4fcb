"""The examples in the help are run as they stand, in one walk from a new host to its audited bill.

Only places are changed: ``/tmp`` and ``/var/lib/shype/usage`` lie in the walk's own folder.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from shype.main import GROUPS, parser_for
from tests.conftest import REPOSITORY
from tests.schemas import schemas, validator

NONCE: Final = "00112233445566778899aabbccddeeff"
READY_SECONDS: Final = 60.0
MISSING: Final = [name for name in ("swtpm_setup", "tpm2_quote", "openssl") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.host,
    pytest.mark.tools,
    pytest.mark.heavy,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


def verbs(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, str]]:
    below = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    for each in below:
        for word, verb in each.choices.items():
            yield from verbs(verb, f"{name} {word}")
    if not below:
        epilog = parser.epilog or ""
        yield name, epilog[epilog.index("Example") :].partition("\n")[2]


EXAMPLES: Final = {name: text for group in GROUPS for name, text in verbs(parser_for(group), group)}
ELSEWHERE: Final = frozenset({"demo"})
"""Run by tests/shype/test_demo.py: it takes half a minute."""


@dataclass
class Walk:
    """What was run, and how it ended; ``room`` is where the person stands, ``port`` that of the agent."""

    room: Path
    done: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    port: int = 0

    def sh(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a few lines; the person has nothing but the program and Debian's tools."""
        path = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return subprocess.run(
            ["/bin/bash", "-e", "-c", script],
            cwd=self.room, env={"PATH": path, "NONCE": NONCE, **kept}, check=False,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def prepare(self, script: str) -> None:
        """Run what the walk needs between two examples."""
        done = self.sh(script)
        assert done.returncode == 0, done

    def here(self, text: str) -> str:
        """Return an example for this room, with one document asked of the verb that it is of."""
        text = text.replace("\\\n", " ").replace("/tmp/", f"{self.room}/tmp/")
        text = text.replace("8443", str(self.port))
        text = text.replace("/var/lib/shype/usage", f"{self.room}/tmp/h/usage")
        text = text.replace("2026-11-01T00:00:00Z", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
        return "\n".join(line for line in text.splitlines() if not line.strip().startswith("tools/"))

    def example(self, verb: str, text: str | None = None, *, before: str = "") -> None:
        """Run a verb's example, or ``text`` for it, with ``before`` in the same shell."""
        script = self.here(EXAMPLES[verb] if text is None else text)
        line = re.compile(rf"^( *shype {verb})(?! [^\n]*--json)", re.MULTILINE)
        self.done[verb] = self.sh(before + line.sub(r"\1 --json", script))

    def boot(self) -> subprocess.Popen[str]:
        """Run the example of ``host boot``, whose last line stays in the background."""
        process = self._background("host boot")
        end = time.monotonic() + READY_SECONDS
        while self.sh(f"shype host status {self.room}/tmp/h").returncode and process.poll() is None:
            assert time.monotonic() < end, "the host does not come up"
        return process

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Run the example of ``host serve`` for as long as it is needed."""
        process = self._background("host serve")
        assert process.stderr is not None
        try:
            greeting = process.stderr.readline()
            answers = re.search(r"answers at https://127\.0\.0\.1:([0-9]+),", greeting)
            assert answers, greeting
            self.port = int(answers[1])
            yield
        finally:
            process.terminate()
            out, err = process.communicate(timeout=READY_SECONDS)
            self.done["host serve"] = subprocess.CompletedProcess("host serve", process.returncode, out, err)

    def _background(self, verb: str) -> subprocess.Popen[str]:
        *before, last = self.here(EXAMPLES[verb]).strip().splitlines()
        self.prepare("\n".join(before))
        command = last.strip().removesuffix("&").replace(f"shype {verb}", f"exec shype {verb} --json")
        path = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return subprocess.Popen(
            ["/bin/bash", "-c", command],
            cwd=self.room, env={"PATH": path, **kept}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


def carried_out(walk: Walk) -> None:
    """The walk: what an operator, a registrar, a verifier and an auditor do, in the order of their need."""
    walk.example("host status")
    walk.example("host endorsement")
    walk.example("host activate")
    walk.prepare("cp tmp/endorsement/* . && mkdir anchors && cp tmp/h/certificates/*.pem anchors/")
    walk.example("enroll challenge")
    walk.prepare("shype host activate tmp/h --challenge challenge -o secret")
    walk.example("enroll complete")
    walk.example("enroll nonce")
    walk.example("policy load")
    walk.example("domain launch")
    walk.example("pcrs predict")
    walk.example("pcrs reference")
    walk.example("attest")
    walk.example("enroll client-key")
    walk.example("result jwk")
    walk.prepare("cp configs/policies/datacenter.yaml policy.yaml && mkdir anchors/enrolled")
    walk.prepare("cp tmp/enrolment.json anchors/enrolled/embedded.json")
    signed = EXAMPLES["verify"].replace(
        "evidence.json", "evidence.json --ear ear.jwt --ear-key ear-key.pem", 1
    )
    with walk.serving():
        walk.example("verify", signed)
    walk.prepare("shype domain launch configs/hosts/cola-db.cfg --host tmp/h --tenant cola")
    walk.example("domain connect")
    walk.example("domain run")
    walk.example("meter sign")
    walk.prepare(f"mkdir quote\n{_WITH_TPM}\n{_MAKE_AK}")
    walk.example("quote verify", before=_WITH_TPM)
    walk.example("domain stop")
    walk.example("host audit-log")
    walk.example("meter show")
    walk.prepare("cp tmp/enrolment.json host1.json && cp reference.json host1.reference.json")
    walk.example("meter export")
    walk.example("audit")
    walk.example("result verify")
    walk.example("result standing")
    for verb, text in EXAMPLES.items():
        if verb not in walk.done and "/tmp/h" in text and verb not in {"host boot", "host poweroff"}:
            walk.example(verb)
    walk.example("host poweroff")


_WITH_TPM: Final = 'cd quote\nexport TPM2TOOLS_TCTI="cmd:python3 -m vtpm.relay ../tmp/h/tpm.sock"\n'
_MAKE_AK: Final = (
    "tpm2_createek -c ek.ctx -G ecc -u ek.pub && "
    "tpm2_createak -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub"
)


@pytest.fixture(scope="module")
def walk(boot_files: Path) -> Iterator[Walk]:
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as folder:
        made = Walk(Path(folder))
        (made.room / "tmp").mkdir()
        (made.room / "build").mkdir()
        (made.room / "build" / "boot").symlink_to(boot_files.resolve())
        (made.room / "NEW").symlink_to(boot_files.resolve())  # of pcrs explain: the files of an update
        (made.room / "configs").symlink_to(REPOSITORY / "configs")
        made.example("host init", EXAMPLES["host init"].replace("/tmp/h", "/tmp/other"))
        process = made.boot()
        try:
            carried_out(made)
            out, err = process.communicate(timeout=READY_SECONDS)
            made.done["host boot"] = subprocess.CompletedProcess("host boot", process.returncode, out, err)
        finally:
            process.kill()
            process.wait()
        for verb in sorted(EXAMPLES.keys() - made.done.keys() - ELSEWHERE):
            made.example(verb)
            made.sh(
                "cp -n datacenter-security_policy.xml old-security_policy.xml"
            )  # export comes before import
        yield made


@pytest.mark.parametrize("verb", sorted(EXAMPLES.keys() - ELSEWHERE))
def test_example_works(verb: str, walk: Walk) -> None:
    done = walk.done[verb]
    judges = verb == "doctor" or (verb.startswith("policy ") and verb != "policy load")
    assert done.returncode in ((0, 1, 4) if judges else (0,)), (done.args, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", sorted(EXAMPLES.keys() - ELSEWHERE))
def test_example_s_document_fits_its_schema(verb: str, walk: Walk) -> None:
    name = {"verify": "verify-result"}.get(verb, verb.replace(" ", "-"))
    text = walk.done[verb].stdout
    if "--json" in walk.here(EXAMPLES[verb]) or "{" in text:
        document, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
        validator(name).validate(document)
    else:
        assert name in schemas()

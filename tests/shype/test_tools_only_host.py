"""A host that has tpm2-tools and nothing of ours enrols, quotes for our nonce, and is verified by files."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shype.main import main
from tests.recordings.record_quotes import Recorder, swtpm
from tests.schemas import validator
from vtpm.manufacture import manufacture

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = [name for name in ("swtpm_setup", "tpm2_activatecredential") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.host,
    pytest.mark.tools,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
AKS = {"rsassa": ("rsa", "rsassa"), "rsapss": ("rsa", "rsapss"), "ecdsa": ("ecc", "ecdsa")}


@dataclass(frozen=True)
class ToolsHost:
    """All that is done on the host is a line of tpm2-tools."""

    folder: Path
    recorder: Recorder

    def make_ak(self, name: str) -> None:
        algorithm, scheme = AKS[name]
        create = ("tpm2_createak", "-C", "ek.ctx", "-c", f"{name}.ctx", "-G", algorithm, "-g", "sha256")
        self.recorder.run(*create, "-s", scheme, "-u", f"{name}.pub")
        self.recorder.flush()
        self.recorder.run("tpm2_readpublic", "-c", f"{name}.ctx", "-f", "pem", "-o", f"{name}.pem")
        self.recorder.flush()

    def activate(self, name: str) -> None:
        run = self.recorder.run
        run("tpm2_startauthsession", "--policy-session", "-S", "session")
        run("tpm2_policysecret", "-S", "session", "-c", "e")
        activate = ("tpm2_activatecredential", "-c", f"{name}.ctx", "-C", "ek.ctx", "-P", "session:session")
        run(*activate, "-i", "challenge", "-o", "secret")
        run("tpm2_flushcontext", "session")
        self.recorder.flush()

    def quote(self, name: str, nonce: str) -> None:
        scheme = ("--scheme", "rsapss") if name == "rsapss" else ()
        quote = ("tpm2_quote", "-c", f"{name}.ctx", *scheme, "-l", "sha256:0,7", "-q", nonce)
        self.recorder.run(*quote, "-m", "quote.msg", "-s", "quote.sig", "-o", "quote.pcrs")
        self.recorder.flush()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToolsHost]:
    folder = tmp_path_factory.mktemp("host")
    made = manufacture(folder / "tpm", "xen1")
    (folder / "anchors").mkdir()
    (folder / "anchors" / "root.pem").write_bytes(made.root)
    (folder / "anchors" / "issuer.pem").write_bytes(made.issuer)
    with swtpm(made.state) as tcti:
        recorder = Recorder(folder, tcti)
        recorder.run("tpm2_createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub")
        recorder.flush()
        recorder.run("tpm2_nvread", "0x1c00002", "-o", "ek.crt")
        host = ToolsHost(folder, recorder)
        for name in AKS:
            host.make_ak(name)
        yield host


class Desk:
    """The verifier's desk; its folder is the host's, as if files were sent to and fro."""

    def __init__(self, host: ToolsHost, capsys: pytest.CaptureFixture[str]) -> None:
        self.host = host
        self._capsys = capsys
        shutil.rmtree(host.folder / "registrar", ignore_errors=True)

    def run(self, line: str, schema: str) -> tuple[int, Any]:
        code = main([*line.split(), "--json"])
        document = json.loads(self._capsys.readouterr().out)
        validator("error" if "error" in document else schema).validate(document)
        return code, document

    def enrol(self, ak: str) -> None:
        files = f"--ek-certificate ek.crt --ek ek.pub --ak {ak}.pub --ca anchors"
        line = f"enroll challenge --host xen1 {files} --state registrar -o challenge"
        assert self.run(line, "enroll-challenge")[0] == 0
        self.host.activate(ak)
        line = "enroll complete --host xen1 --response secret --state registrar -o enrolment.json"
        assert self.run(line, "enroll-complete")[0] == 0

    def nonce(self) -> str:
        code, document = self.run("enroll nonce --host xen1 --state registrar", "enroll-nonce")
        assert code == 0
        return str(document["nonce"]["value"])

    def judge(self, ak: str, more: str) -> tuple[int, Any]:
        files = f"--ak {ak} --message quote.msg --signature quote.sig --pcrs quote.pcrs"
        return self.run(f"quote verify {files} --require-pcrs sha256:0,7 {more}", "quote-verify")


@pytest.fixture
def desk(host: ToolsHost, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(host.folder)
    return Desk(host, capsys)


def codes(document: Any) -> list[str]:
    return [reason["code"] for reason in document["reasons"]]


SESSION = "--session registrar --host xen1"


@pytest.mark.parametrize("ak", AKS)
def test_it_enrols_and_is_verified(desk: Desk, ak: str) -> None:
    desk.enrol(ak)
    desk.host.quote(ak, desk.nonce())
    code, document = desk.judge(f"{ak}.pub", SESSION)
    assert (code, document["verdict"], document["reasons"]) == (0, "affirming", [])
    assert {"enrolment", "ak-attributes", "qualified-signer", "nonce", "pcr-values"} <= set(
        document["checked"]
    )


def test_21_nonce_is_used_up(desk: Desk) -> None:
    desk.enrol("ecdsa")
    desk.host.quote("ecdsa", desk.nonce())
    assert desk.judge("ecdsa.pub", SESSION)[0] == 0
    code, document = desk.judge("ecdsa.pub", SESSION)
    assert (code, codes(document)) == (3, ["evidence-twice"])


def test_21_quote_for_an_earlier_nonce(desk: Desk) -> None:
    desk.enrol("ecdsa")
    desk.host.quote("ecdsa", desk.nonce())
    desk.nonce()
    code, document = desk.judge("ecdsa.pub", SESSION)
    assert (code, codes(document)) == (3, ["nonce-mismatch"])
    desk.host.quote("ecdsa", "00" * 32)
    assert codes(desk.judge("ecdsa.pub", SESSION)[1]) == ["session-failed"]


def test_36_clock_is_remembered(desk: Desk) -> None:
    """A second quote goes on from the first; a memory of a later one shows that the clock went back."""
    desk.enrol("ecdsa")
    desk.host.quote("ecdsa", desk.nonce())
    assert "earlier-quote" in desk.judge("ecdsa.pub", SESSION)[1]["not_checked"]
    desk.host.quote("ecdsa", desk.nonce())
    code, document = desk.judge("ecdsa.pub", SESSION)
    assert (code, "earlier-quote" in document["checked"]) == (0, True)
    clock = desk.host.folder / "registrar" / "enrolled" / "xen1.clock"
    kept = json.loads(clock.read_text())
    clock.write_text(json.dumps({**kept, "clock": kept["clock"] + 3_600_000}))
    desk.host.quote("ecdsa", desk.nonce())
    code, document = desk.judge("ecdsa.pub", SESSION)
    assert (code, codes(document)) == (3, ["clock-back"])
    assert json.loads(clock.read_text())["clock"] == kept["clock"] + 3_600_000


def test_39_firmware_is_remembered(desk: Desk) -> None:
    desk.enrol("ecdsa")
    desk.host.quote("ecdsa", desk.nonce())
    desk.judge("ecdsa.pub", SESSION)
    clock = desk.host.folder / "registrar" / "enrolled" / "xen1.clock"
    clock.write_text(json.dumps({**json.loads(clock.read_text()), "firmware_version": 1}))
    for _ in range(2):
        desk.host.quote("ecdsa", desk.nonce())
        code, document = desk.judge("ecdsa.pub", SESSION)
        assert (code, codes(document)) == (1, ["tpm-firmware-changed"])


def test_pem_key_gains_its_attributes_from_the_record(desk: Desk) -> None:
    desk.enrol("rsassa")
    desk.host.quote("rsassa", "ab" * 32)
    more = f"--nonce {'ab' * 32}"
    assert "ak-attributes" in desk.judge("rsassa.pem", more)[1]["not_checked"]
    code, document = desk.judge("rsassa.pem", f"{more} --enrolment enrolment.json")
    assert (code, document["verdict"]) == (0, "affirming")
    assert {"ak-attributes", "enrolment", "qualified-signer"} <= set(document["checked"])


@pytest.mark.parametrize("form", ["pub", "pem"])
def test_another_key_of_the_same_tpm_is_not_enrolled(desk: Desk, form: str) -> None:
    desk.enrol("rsassa")
    desk.host.quote("ecdsa", "ab" * 32)
    code, document = desk.judge(f"ecdsa.{form}", f"--nonce {'ab' * 32} --enrolment enrolment.json")
    assert (code, codes(document), document["checked"]) == (3, ["ak-not-enrolled"], ["ak-format"])


def test_enrolled_key_of_another_place(desk: Desk) -> None:
    """The same public area under another parent: its Qualified Name tells."""
    desk.enrol("ecdsa")
    desk.host.quote("ecdsa", "ab" * 32)
    record = json.loads((desk.host.folder / "enrolment.json").read_text())
    (desk.host.folder / "moved.json").write_text(json.dumps({**record, "ek_name": "000b" + "11" * 32}))
    code, document = desk.judge("ecdsa.pub", f"--nonce {'ab' * 32} --enrolment moved.json")
    assert (code, codes(document)) == (3, ["quote-signer"])


@pytest.mark.parametrize(
    "more",
    [
        "--session registrar",
        f"--host xen1 --nonce {'ab' * 32}",
        f"{SESSION} --nonce {'ab' * 32}",
        f"{SESSION} --enrolment enrolment.json",
        "--session nowhere --host xen1",
        f"--nonce {'ab' * 32} --enrolment nowhere.json",
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(desk: Desk, more: str) -> None:
    desk.enrol("ecdsa")
    desk.host.quote("ecdsa", desk.nonce())
    assert desk.judge("ecdsa.pub", more)[0] == 2
    (desk.host.folder / "broken.json").write_text("{}")
    code, document = desk.judge("ecdsa.pub", f"--nonce {'ab' * 32} --enrolment broken.json")
    assert (code, codes(document)) == (3, ["enrolment-malformed"])
    assert desk.judge("ecdsa.pub", SESSION)[0] == 0

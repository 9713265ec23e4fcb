"""``shype enroll`` with a TPM made by swtpm_setup and used by tpm2-tools: exit codes, documents, files."""

from __future__ import annotations

import json
import shlex
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attest.ak import check_ak
from attest.enrolment import Enrolment
from shype.cli import enroll as group
from shype.main import parser_for
from tests.recordings.record_quotes import Recorder, swtpm
from tests.schemas import validator
from tests.shype.outcome import Outcome, run
from vtpm.manufacture import manufacture
from vtpm.tpm2.public import Public

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MISSING = [name for name in ("swtpm_setup", "tpm2_activatecredential") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.host,
    pytest.mark.tools,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


@dataclass(frozen=True)
class Host:
    """A host with its TPM: the files that it sends to the registrar, and its tools."""

    folder: Path
    anchors: Path
    recorder: Recorder

    def activate(self, challenge: Path, answer: Path) -> None:
        """Answer a challenge as a host does; stops the test if the TPM refuses."""
        run = self.recorder.run
        run("tpm2_startauthsession", "--policy-session", "-S", "session")
        run("tpm2_policysecret", "-S", "session", "-c", "e")
        activate = ("tpm2_activatecredential", "-c", "ak.ctx", "-C", "ek.ctx", "-P", "session:session")
        run(*activate, "-i", str(challenge), "-o", str(answer))
        run("tpm2_flushcontext", "session")
        self.recorder.flush()


def new_host(folder: Path, tcti: str, anchors: Path) -> Host:
    recorder = Recorder(folder, tcti)
    recorder.run("tpm2_createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub")
    recorder.flush()
    recorder.run(
        "tpm2_createak",
        "-C",
        "ek.ctx",
        "-c",
        "ak.ctx",
        "-G",
        "ecc",
        "-g",
        "sha256",
        "-s",
        "ecdsa",
        "-u",
        "ak.pub",
    )
    recorder.flush()
    recorder.run("tpm2_readpublic", "-c", "ak.ctx", "-f", "pem", "-o", "ak.pem")
    recorder.flush()
    recorder.run("tpm2_nvread", "0x1c00002", "-o", "ek.crt")
    return Host(folder, anchors, recorder)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    """Two hosts, each with a TPM and a maker of its own."""
    made = []
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        made.append((folder, manufacture(folder / "tpm", name)))
        (folder / "anchors").mkdir()
        (folder / "anchors" / "root.pem").write_bytes(made[-1][1].root)
        (folder / "anchors" / "issuer.pem").write_bytes(made[-1][1].issuer)
        (folder / "anchors" / "notes.txt").write_text("not a certificate")
    with swtpm(made[0][1].state) as first, swtpm(made[1][1].state) as second:
        one = new_host(made[0][0], first, made[0][0] / "anchors")
        yield one, new_host(made[1][0], second, made[1][0] / "anchors")


class Registrar:
    """Runs the command with one state folder; every document is held against its schema."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.blob = folder / "challenge"
        self.answer = folder / "answer"
        self.record = folder / "enrolment.json"

    def challenge(self, host: Host, name: str = "xen1", /, **options: object) -> Outcome:
        files = {"ek-certificate": "ek.crt", "ek": "ek.pub", "ak": "ak.pub"}
        chosen = {key: host.folder / path for key, path in files.items()}
        common = {"host": name, "ca": host.anchors, "state": self.state, "output": self.blob}
        return self._run("challenge", {**chosen, **common, **options})

    def complete(self, name: str = "xen1", /, **options: object) -> Outcome:
        common = {"host": name, "response": self.answer, "state": self.state, "output": self.record}
        return self._run("complete", {**common, **options})

    def enrol(self, host: Host, name: str = "xen1", **options: object) -> None:
        assert self.challenge(host, name, **options).exit == 0
        host.activate(self.blob, self.answer)
        assert self.complete(name).exit == 0

    def _run(self, verb: str, options: dict[str, object]) -> Outcome:
        arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
        outcome = run("enroll", verb, *arguments, "--json")
        document = outcome.document
        validator("error" if "error" in document else f"enroll-{verb}").validate(document)
        assert outcome.err.count("\n") == (outcome.exit != 0)
        return outcome


@pytest.fixture
def registrar(tmp_path: Path) -> Registrar:
    return Registrar(tmp_path)


def test_host_is_enrolled_by_its_tpm(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    host = hosts[0]
    challenged = registrar.challenge(host)
    assert (challenged.exit, challenged.document["verdict"]) == (0, "challenged")
    host.activate(registrar.blob, registrar.answer)
    enrolled = registrar.complete()
    assert (enrolled.exit, enrolled.document["verdict"], enrolled.err) == (0, "enrolled", "")
    record = Enrolment.decode(registrar.record.read_bytes())
    check_ak(Public.decode(record.ak))
    assert record.ak == Public.decode_sized((host.folder / "ak.pub").read_bytes()).encode()
    assert (record.host, record.manufacturer, record.software) == ("xen1", "id:00001014", True)
    assert json.loads(registrar.record.read_bytes()) == enrolled.document["enrolment"]
    kept = registrar.state / "enrolled" / "xen1.json"
    assert kept.read_bytes() == registrar.record.read_bytes()


def test_nobody_else_reads_the_state(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    registrar.challenge(hosts[0])
    for path in (registrar.state, *registrar.state.rglob("*"), registrar.blob):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_12_second_answer_is_refused(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    registrar.enrol(hosts[0])
    again = registrar.complete()
    assert (again.exit, again.codes) == (1, ["challenge-unknown"])
    assert registrar.record.exists()


def test_12_wrong_answer_uses_the_challenge_up(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    registrar.challenge(hosts[0])
    hosts[0].activate(registrar.blob, registrar.answer)
    right = registrar.answer.read_bytes()
    registrar.answer.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    wrong = registrar.complete()
    assert (wrong.exit, wrong.codes) == (1, ["challenge-response"])
    assert right.hex() not in json.dumps(wrong.document) + wrong.err
    registrar.answer.write_bytes(right)
    assert registrar.complete().codes == ["challenge-unknown"]
    assert not registrar.record.exists()


def test_new_challenge_takes_the_place_of_the_old(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    registrar.challenge(hosts[0])
    hosts[0].activate(registrar.blob, registrar.answer)
    registrar.challenge(hosts[0])
    assert registrar.complete().codes == ["challenge-response"]


def test_host_is_enrolled_again_with_the_same_tpm(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    registrar.enrol(hosts[0])
    registrar.enrol(hosts[0])


def test_10_known_host_with_another_tpm(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    registrar.enrol(hosts[0])
    blob = registrar.blob.read_bytes()
    other = registrar.challenge(hosts[1])
    assert (other.exit, other.codes, other.document["alarm"]) == (1, ["host-has-other-tpm"], True)
    assert registrar.blob.read_bytes() == blob


def test_known_tpm_under_another_name(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    registrar.enrol(hosts[0])
    other = registrar.challenge(hosts[0], "xen2")
    assert (other.exit, other.codes, other.document["alarm"]) == (1, ["tpm-has-other-host"], True)


def test_7_maker_that_is_not_trusted(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    refused = registrar.challenge(hosts[0], ca=hosts[1].anchors)
    assert (refused.exit, refused.document["verdict"], refused.document["alarm"]) == (1, "refused", False)
    assert refused.codes[0] in {"ek-certificate-no-path", "ek-certificate-signature"}


def test_cas_that_the_host_shows_in_one_file(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    roots, shown = registrar.folder / "roots", registrar.folder / "chain.pem"
    roots.mkdir()
    for name in ("root.pem", "issuer.pem"):
        raw = (hosts[0].anchors / name).read_bytes()
        (roots / "root.PEM" if name == "root.pem" else shown).write_bytes(raw)
    assert registrar.challenge(hosts[0], ca=roots).codes == ["ek-certificate-no-path"]
    shown.write_bytes((hosts[1].anchors / "issuer.pem").read_bytes() + shown.read_bytes())
    assert registrar.challenge(hosts[0], ca=roots, intermediate=shown).exit == 0


def test_folder_without_certificates(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    empty = registrar.folder / "roots"
    empty.mkdir()
    refused = registrar.challenge(hosts[0], ca=empty)
    assert refused.exit == 2
    assert f"{empty}: no certificate in it; give files *.cer, *.crt, *.der, *.pem" in refused.err


def test_certificate_with_the_fill_of_its_nv_index(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    padded = registrar.folder / "padded"
    padded.write_bytes((hosts[0].folder / "ek.crt").read_bytes() + b"\xff" * 300)
    challenged = registrar.challenge(hosts[0], **{"ek-certificate": padded})
    notes = challenged.document["challenge"]["notes"]
    assert (challenged.exit, [note.split(": ")[:2] for note in notes]) == (0, [["endorsement-bent", "fill"]])
    assert registrar.challenge(hosts[0]).document["challenge"]["notes"] == []


def test_33_certificate_of_another_tpm(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    stolen = hosts[1].folder / "ek.crt"
    refused = registrar.challenge(hosts[0], ca=hosts[1].anchors, **{"ek-certificate": stolen})
    assert (refused.exit, refused.codes) == (1, ["ek-certificate-other-key"])


def test_ak_of_another_tpm_cannot_answer(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    """The challenge is for the Name of an AK that is not in the TPM with this EK."""
    assert registrar.challenge(hosts[0], ak=hosts[1].folder / "ak.pub").exit == 0
    with pytest.raises(SystemExit):
        hosts[0].activate(registrar.blob, registrar.answer)
    hosts[0].recorder.run("tpm2_flushcontext", "--loaded-session")
    hosts[0].recorder.flush()


@pytest.mark.parametrize("option", ["ak", "ek", "ek-certificate"])
def test_file_that_is_not_well_formed(registrar: Registrar, hosts: tuple[Host, Host], option: str) -> None:
    broken = registrar.folder / "broken"
    broken.write_bytes(b"\x00\x01\x02")
    refused = registrar.challenge(hosts[0], **{option: broken})
    assert (refused.exit, refused.document["verdict"]) == (3, "none")


def test_pem_key_shows_no_attributes(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    refused = registrar.challenge(hosts[0], ak=hosts[0].folder / "ak.pem")
    assert (refused.exit, refused.codes) == (1, ["ak-attributes"])


@pytest.mark.parametrize(
    "options", [{"host": "../xen1"}, {"ak": "/nonexistent"}, {"ca": "/nonexistent"}, {"valid-for": "0"}]
)
def test_wrong_usage(registrar: Registrar, hosts: tuple[Host, Host], options: dict[str, str]) -> None:
    wrong = registrar.challenge(hosts[0], **options)
    assert (wrong.exit, wrong.document["error"]["exit"]) == (2, 2)


def test_output_that_cannot_be_written_leaves_the_challenge(
    registrar: Registrar, hosts: tuple[Host, Host]
) -> None:
    registrar.challenge(hosts[0])
    hosts[0].activate(registrar.blob, registrar.answer)
    assert registrar.complete(output="/nonexistent/enrolment.json").exit == 2
    assert registrar.complete().exit == 0


def test_record_moved_to_another_host_is_noticed(registrar: Registrar, hosts: tuple[Host, Host]) -> None:
    registrar.enrol(hosts[0])
    (registrar.state / "enrolled" / "xen1.json").rename(registrar.state / "enrolled" / "xen7.json")
    refused = registrar.challenge(hosts[1])
    assert (refused.exit, refused.codes) == (3, ["enrolment-malformed"])


@pytest.mark.parametrize("epilog", [group._CHALLENGE, group._COMPLETE])
def test_examples_in_the_help_are_ones_that_work(epilog: str) -> None:
    words = shlex.split(epilog.partition("Example:\n")[2].replace("\\\n", " "))
    assert words[:2] == ["shype", "enroll"]
    assert parser_for("enroll").parse_args(words[2:]).host == "xen1"

"""The main job as a list of public commands, from a measured boot to an audited bill."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shype import packaged
from shype.demo.commands import Done, run, run_isolated, shype
from shype.demo.narrator import Narrator
from shype.demo.powered import PoweredHost
from shype.errors import ShypeInputError, ShypeUsageError
from shype.report import Exit

HOST: Final = "embedded"
GUESTS: Final = ("cola-web", "cola-db", "bank-web")
WALLED: Final = "juice-web"
WRONG_DISK: Final = "cola-reports"
RUN_SECONDS: Final = 300
SHOWN_PCRS: Final = "0,1,2,3,4,5,6,7,8,9"


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the final table: what was expected, how it came out."""

    what: str
    outcome: str
    good: bool


@dataclass(slots=True)
class Scene:
    """The folders of one demo run and what has been proved so far.

    ``work`` has ``host`` (the attester's), ``registrar``, ``verifier`` and ``auditor``: what each holds.
    """

    work: Path
    boot: Path
    narrator: Narrator
    lines: list[Line] = field(default_factory=list)

    def path(self, *names: str) -> Path:
        """Return a path below the work folder."""
        return self.work.joinpath(*names)

    def config(self, name: str) -> Path:
        """Return a packaged domain config."""
        return packaged.ROOT / "hosts" / f"{name}.cfg"

    def policy(self) -> Path:
        """Return the packaged policy of the data centre."""
        return packaged.ROOT / "policies" / "datacenter.yaml"

    def shype(self, *arguments: str | Path, expect: Exit = Exit.OK, show: int = 6) -> Done:
        """Run a public command and show it; raises ShypeInputError when it ends otherwise than expected.

        ShypeUsageError if the command says that it was called wrongly: then so was the demo.
        """
        words = [str(word) for word in arguments]
        self.narrator.command(["shype", *words])
        done = run(shype(*words))
        self.narrator.output(done.out or done.err, show)
        if done.exit != expect:
            raise (ShypeUsageError if done.exit == Exit.USAGE else ShypeInputError)(
                f"shype {' '.join(words)}: exit {done.exit}, expected {int(expect)}: {done.err.strip()}"
            )
        return done

    def proved(self, what: str, outcome: str, *, good: bool) -> None:
        """Record and show one line of the final table."""
        self.lines.append(Line(what, outcome, good))
        self.narrator.check(f"{what}: {outcome}", good=good)


def predict(scene: Scene) -> dict[str, str]:
    """The relying party predicts PCR 0-9 from the boot files, before anything runs; returns them."""
    scene.narrator.title("Predict: what should this host's registers be?")
    scene.narrator.tell(
        "Debian's Xen, kernel and ramdisk lie in the boot folder, beside GRUB and its grub.cfg. From these"
        " files, and from a firmware log recorded on the same machine type, follow PCR 0-9."
    )
    done = scene.shype("pcrs", "predict", HOST, "--root", scene.boot, "--json", show=0)
    pcrs = done.document()["pcrs"]
    assert isinstance(pcrs, dict)
    bank = pcrs["sha256"]
    assert isinstance(bank, dict)
    predicted = {str(pcr): str(value) for pcr, value in bank.items()}
    scene.narrator.output("\n".join(f"PCR {pcr} {predicted[pcr]}" for pcr in ("4", "8", "9")))
    return predicted


def make_references(scene: Scene) -> None:
    """The relying party makes reference values from its own copies of the files, for the guests it knows."""
    scene.path("verifier").mkdir()
    domains = [word for name in GUESTS for word in ("--domain", str(scene.config(name)))]
    description = packaged.ROOT / "hosts" / f"{HOST}.yaml"
    output = scene.path("verifier", "reference.json")
    scene.shype(
        "pcrs",
        "reference",
        HOST,
        "--root",
        scene.boot,
        "--images",
        scene.boot,
        "--host",
        description,
        *domains,
        "-o",
        output,
    )


def compare_pcrs(scene: Scene, predicted: dict[str, str]) -> None:
    """Let tpm2_pcrread, a program that is not ours, read what the boot really left in the TPM."""
    socket = scene.path("host", "tpm.sock")
    environment = {"TPM2TOOLS_TCTI": f"cmd:{sys.executable} -m vtpm.relay {socket}", "PATH": _PATH}
    argv = ("tpm2_pcrread", f"sha256:{SHOWN_PCRS}")
    scene.narrator.command(argv)
    done = run(argv, env=environment)
    read = {
        pcr.strip(): value.strip().lower().removeprefix("0x")
        for pcr, _, value in (line.partition(":") for line in done.out.splitlines())
        if pcr.strip().isdigit()
    }
    scene.narrator.output("\n".join(f"PCR {pcr} {read.get(pcr)}" for pcr in ("4", "8", "9")))
    wrong = [pcr for pcr, value in predicted.items() if read.get(pcr) != value]
    outcome = (
        "PCR 0-9 predicted and read are equal" if not wrong else f"PCR {', '.join(wrong)} differ: {done.err}"
    )
    scene.proved("measured boot", outcome, good=not wrong and set(predicted) == set(SHOWN_PCRS.split(",")))


_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


def enrol(scene: Scene) -> None:
    """The registrar makes sure that the attestation key lives in the TPM with that EK certificate."""
    scene.narrator.title("Enrol: whose TPM is this?")
    host, registrar = scene.path("host"), scene.path("registrar")
    endorsement = scene.path("endorsement")
    scene.shype("host", "endorsement", host, "-o", endorsement)
    certificates = host / "certificates"
    scene.shype(
        *("enroll", "challenge", "--host", HOST, "--ek-certificate", endorsement / "ek.crt"),
        *("--ek", endorsement / "ek.pub", "--ak", endorsement / "ak.pub"),
        *("--ca", certificates, "--state", registrar, "-o", scene.path("challenge")),
    )
    scene.shype(
        "host", "activate", host, "--challenge", scene.path("challenge"), "-o", scene.path("response")
    )
    enrolled = scene.path("verifier", "anchors", "enrolled")
    enrolled.mkdir(parents=True)
    record = enrolled / f"{HOST}.json"
    scene.shype(
        "enroll",
        "complete",
        "--host",
        HOST,
        "--response",
        scene.path("response"),
        "--state",
        registrar,
        "-o",
        record,
    )
    for certificate in certificates.iterdir():
        shutil.copy(certificate, scene.path("verifier", "anchors"))
    scene.proved("enrolment", "the AK is in the TPM that the EK certificate speaks of", good=record.is_file())


def load_policy(scene: Scene) -> None:
    """The operator loads the policy; it is measured before it takes effect."""
    scene.narrator.title("Policy: who may run here, and share with whom?")
    scene.shype("policy", "load", scene.policy(), "--host", scene.path("host"))
    shutil.copy(scene.policy(), scene.path("verifier", "policy.yaml"))


def launch_guests(scene: Scene) -> None:
    """Three guests run; one is refused by the Chinese Wall, one by type enforcement."""
    scene.narrator.title("Guests: three may run, two may not")
    host = scene.path("host")
    for name in GUESTS:
        scene.shype("domain", "launch", scene.config(name), "--host", host, "--tenant", tenant(name))
    scene.proved("launch", f"{', '.join(GUESTS)} run, each with its own labelled vTPM", good=True)
    for name, code, rule in ((WALLED, "chwall", "the Chinese Wall"), (WRONG_DISK, "ste", "type enforcement")):
        launch = ("domain", "launch", scene.config(name), "--host", host, "--json")
        codes = _denied(scene, scene.shype(*launch, expect=Exit.REFUSED, show=0))
        good = bool(codes) and all(code in each for each in codes)
        scene.proved(f"launch of {name}", f"refused by {rule} ({', '.join(codes)})", good=good)


def connect_guests(scene: Scene) -> None:
    """Event channel and grant: like labels succeed, unlike ones are denied when they bind."""
    scene.narrator.title("Sharing: asked once, when it is bound")
    host = scene.path("host")
    first, second, stranger = GUESTS
    done = scene.shype("domain", "connect", first, second, "--host", host, "--json", show=0)
    moved = done.document()["bytes"]
    scene.proved("like labels", f"{moved} bytes through a grant", good=bool(moved))
    unlike = ("domain", "connect", first, stranger, "--host", host, "--json")
    codes = _denied(scene, scene.shype(*unlike, expect=Exit.REFUSED, show=0))
    scene.proved("unlike labels", f"denied at bind time ({', '.join(codes)})", good=bool(codes))


def meter(scene: Scene) -> None:
    """Guests work; their usage is recorded, and the log is signed by a key of this platform state."""
    scene.narrator.title("Usage: counted, chained, signed in the TPM")
    host = scene.path("host")
    scene.shype("domain", "run", str(RUN_SECONDS), "--host", host)
    scene.shype("meter", "sign", "--host", host)
    scene.shype("meter", "export", host / "usage", "-o", scene.path("auditor"))
    shutil.copy(
        scene.path("verifier", "anchors", "enrolled", f"{HOST}.json"), scene.path("auditor", "enrolment.json")
    )
    shutil.copy(scene.path("verifier", "reference.json"), scene.path("auditor"))


def write_evidence(scene: Scene) -> None:
    """The verifier draws a nonce, the host answers it with evidence."""
    scene.narrator.title("Evidence: one quote for the host and all its guests")
    nonce = secrets.token_hex(32)
    scene.path("verifier", "nonce").write_text(nonce + "\n")
    scene.shype(
        "attest",
        "--host",
        scene.path("host"),
        "--nonce",
        nonce,
        "-o",
        scene.path("verifier", "evidence.json"),
    )


def judge_arguments() -> tuple[str, ...]:
    """Return the arguments of ``shype verify`` in the verifier's folder."""
    return (
        *("verify", "evidence.json", "--reference", "reference.json", "--policy", "policy.yaml"),
        *("--nonce", "@nonce", "--anchors", "anchors", "--profile", HOST),
    )


def audit_arguments() -> tuple[str, ...]:
    """Return the arguments of ``shype audit`` in the auditor's folder."""
    return ("audit", ".", "--enrolment", "enrolment.json", "--reference", "reference.json")


def isolated(scene: Scene, arguments: Sequence[str], folder: Path, *, show: int) -> Done:
    """Run a public command without network, with an empty environment, in a folder that has all it needs."""
    scene.narrator.command(["cd", str(folder), "&&", "unshare", "--net", "env", "-i", "shype", *arguments])
    done = run_isolated(shype(*arguments), folder)
    scene.narrator.output(done.out or done.err, show)
    return done


def judge(scene: Scene) -> None:
    """The host is off, its folder gone: the verdict comes from the verifier's folder alone."""
    scene.narrator.title("Verdict: by a process without network, in a folder with five things")
    shutil.rmtree(scene.path("host"))
    done = isolated(scene, judge_arguments(), scene.path("verifier"), show=60)
    good = done.exit == Exit.OK and not scene.path("host").exists()
    scene.proved(
        "verify", "affirming: firmware, Xen, policy, every guest and label" if good else done.err, good=good
    )


def audit(scene: Scene) -> None:
    """The same for the bill."""
    scene.narrator.title("Bill: audited by somebody who trusts no operator")
    done = isolated(scene, audit_arguments(), scene.path("auditor"), show=40)
    good = done.exit == Exit.OK
    scene.proved(
        "audit",
        "every record is there, unchanged, and signed on this platform" if good else done.err,
        good=good,
    )


def tenant(guest: str) -> str:
    """Return who pays for a guest of the demo."""
    return guest.partition("-")[0]


def _denied(scene: Scene, done: Done) -> list[str]:
    """Show why something was denied; return the distinct codes."""
    reasons = done.document().get("reasons")
    assert isinstance(reasons, list)
    found = [reason for reason in reasons if isinstance(reason, dict)]
    scene.narrator.output("\n".join(f"deny: {each['detail']}" for each in found))
    return list(dict.fromkeys(str(each["code"]) for each in found))


def main_job(scene: Scene, keep_machine: Callable[[], None]) -> None:
    """Carry out the main job; ``keep_machine`` is called when the host is off and its folder still there."""
    if not scene.boot.is_dir():
        raise ShypeUsageError(f"{scene.boot}: no boot files are here; make them: tools/boot-files build/boot")
    predicted = predict(scene)
    make_references(scene)
    scene.narrator.title("Boot: measured from the first instruction on")
    scene.shype("host", "init", scene.path("host"))
    with PoweredHost(scene.narrator, scene.path("host"), scene.boot):
        compare_pcrs(scene, predicted)
        enrol(scene)
        load_policy(scene)
        launch_guests(scene)
        connect_guests(scene)
        meter(scene)
        write_evidence(scene)
    keep_machine()
    judge(scene)
    audit(scene)

"""``shype enroll nonce`` and ``shype verify --session``: one nonce, one host, one answer (rows 13, 21)."""

from __future__ import annotations

import json
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attest.session import SessionError
from attest.session_file import decode_session, encode_session
from attest.session_state import State
from shype.enrolments import existing_store
from tests.parsers.of_attest import sessions
from tests.schemas import validator
from tests.shype.outcome import Outcome
from tests.shype.test_verify_cli import Folder
from tests.simulators.host import NONCE, Host

HOST = "xen1.example"


class Registrar(Folder):
    """The relying party's folder; the anchors are the registrar's folder as well."""

    def __init__(self, path: Path, host: Host) -> None:
        super().__init__(path, host)
        self.host = host

    @property
    def kept(self) -> Path:
        return self.path / "anchors" / "sessions" / f"{HOST}.json"

    def ask(self, *more: str, host: str = HOST) -> Outcome:
        return self.run("enroll", "nonce", "--host", host, "--state", "anchors", *more)

    def nonce(self) -> bytes:
        outcome = self.ask()
        assert (outcome.exit, outcome.err) == (0, "")
        return bytes.fromhex(outcome.out.strip())

    def answer(self, nonce: bytes, host: Host | None = None) -> None:
        (self.path / "evidence.json").write_bytes((host or self.host).evidence(nonce).encode())

    def judge(self) -> Outcome:
        arguments = self.arguments(session="anchors")
        at = arguments.index("--nonce")
        outcome = self.run("verify", *arguments[:at], *arguments[at + 2 :], "--json")
        document = outcome.document
        validator("error" if "error" in document else "verify-result").validate(document)
        assert document["verdict"] == ("affirming" if outcome.exit == 0 else "none")
        return outcome


def codes(outcome: Outcome) -> list[Any]:
    return [reason["code"] for reason in outcome.document["reasons"]]


@pytest.fixture
def registrar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registrar:
    monkeypatch.chdir(tmp_path)
    return Registrar(tmp_path, Host.serving())


def test_answer_to_the_kept_nonce_is_judged(registrar: Registrar) -> None:
    registrar.answer(registrar.nonce())
    assert registrar.judge().exit == 0
    assert decode_session(registrar.kept.read_bytes()).state is State.JUDGED


def test_21_second_use_is_refused(registrar: Registrar) -> None:
    registrar.answer(registrar.nonce())
    registrar.judge()
    again = registrar.judge()
    assert (again.exit, codes(again)) == (3, ["evidence-twice"])
    said = "the nonce was answered before: make another (shype enroll nonce)"
    assert again.err == f"shype verify: session: {HOST}: {said}\n"


def test_21_session_goes_on_with_a_new_nonce(registrar: Registrar) -> None:
    registrar.answer(registrar.nonce())
    registrar.judge()
    session = decode_session(registrar.kept.read_bytes()).id
    registrar.answer(registrar.nonce())
    assert registrar.judge().exit == 0
    assert decode_session(registrar.kept.read_bytes()).id == session


def test_21_answer_to_an_earlier_nonce_uses_the_new_one_up(registrar: Registrar) -> None:
    registrar.answer(registrar.nonce())
    later = registrar.nonce()
    old = registrar.judge()
    assert (old.exit, codes(old)) == (3, ["nonce-mismatch"])
    registrar.answer(later)
    again = registrar.judge()
    assert (again.exit, codes(again)) == (3, ["session-failed"])


def test_21_expired_nonce(registrar: Registrar) -> None:
    registrar.answer(registrar.nonce())
    session = decode_session(registrar.kept.read_bytes())
    assert session.nonce is not None
    past = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    raw = json.loads(registrar.kept.read_text())
    raw["nonce_expires_at"] = f"{past:%Y-%m-%dT%H:%M:%SZ}"
    registrar.kept.write_text(json.dumps(raw))
    late = registrar.judge()
    assert (late.exit, codes(late)) == (3, ["nonce-expired"])
    again = registrar.judge()
    assert (again.exit, codes(again)) == (3, ["session-expired"])


def test_21_nonce_of_another_host(registrar: Registrar) -> None:
    """xen2 answers the nonce that xen1 was sent, and the other way round."""
    record = json.loads((registrar.path / "anchors" / "enrolled" / f"{HOST}.json").read_text())
    for_one = registrar.nonce()
    (registrar.path / "anchors" / "enrolled" / "xen2.json").write_text(json.dumps({**record, "host": "xen2"}))
    for_two = bytes.fromhex(registrar.ask(host="xen2").out.strip())
    assert for_one != for_two
    registrar.answer(for_two)
    stolen = registrar.judge()
    assert (stolen.exit, codes(stolen)) == (3, ["nonce-mismatch"])
    registrar.answer(for_one)
    assert codes(registrar.judge()) == ["session-failed"]


def test_13_host_that_was_never_asked(registrar: Registrar) -> None:
    registrar.answer(NONCE)
    unknown = registrar.judge()
    assert (unknown.exit, codes(unknown)) == (3, ["session-unknown"])


def test_13_no_nonce_for_a_host_that_is_not_enrolled(registrar: Registrar) -> None:
    refused = registrar.ask("--json", host="xen9")
    validator("enroll-nonce").validate(refused.document)
    assert (refused.exit, codes(refused)) == (1, ["host-not-enrolled"])


def test_host_enrolled_anew_does_not_answer_for_the_old_key(registrar: Registrar) -> None:
    nonce = registrar.nonce()
    other = Host.serving(tpm=type(registrar.host.tpm)("another key"))
    registrar.show(other)
    registrar.answer(nonce, other)
    refused = registrar.judge()
    assert (refused.exit, codes(refused)) == (3, ["session-other-key"])
    assert codes(registrar.judge()) == ["session-failed"]


def test_21_two_verifiers_with_one_answer(registrar: Registrar) -> None:
    """Both read the same evidence at once: one of them uses the nonce up, the other is refused."""
    registrar.answer(registrar.nonce())
    taken: list[str] = []

    def take() -> None:
        try:
            with existing_store(registrar.path / "anchors") as store, store.session(HOST) as session:
                session.receive(HOST, now=datetime.now(UTC))
                taken.append("judged")
        except SessionError as error:
            taken.append(error.code)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [*["evidence-twice"] * 3, "judged"]


def test_crash_while_judging_uses_the_nonce_up(registrar: Registrar, monkeypatch: pytest.MonkeyPatch) -> None:
    registrar.answer(registrar.nonce())
    left: list[State] = []

    def crash(*_: object) -> None:
        left.append(decode_session(registrar.kept.read_bytes()).state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shype.verification.verify", crash)
        with pytest.raises(KeyboardInterrupt):
            registrar.judge()
    assert left == [State.FAILED]
    assert codes(registrar.judge()) == ["evidence-twice"]


def test_wrong_usage_uses_nothing_up(registrar: Registrar) -> None:
    registrar.answer(registrar.nonce())
    reference = (registrar.path / "reference.json").rename(registrar.path / "away")
    assert registrar.run("verify", "evidence.json", "--session", "anchors", "--json").exit == 2
    arguments = registrar.arguments(session="anchors")
    assert registrar.run("verify", *arguments).exit == 2  # both --nonce and --session
    at = arguments.index("--nonce")
    assert registrar.run("verify", *arguments[:at], *arguments[at + 2 :]).exit == 2
    reference.rename(registrar.path / "reference.json")
    assert registrar.judge().exit == 0


def test_evidence_that_is_none_uses_nothing_up(registrar: Registrar) -> None:
    nonce = registrar.nonce()
    (registrar.path / "evidence.json").write_bytes(b"{}")
    broken = registrar.judge()
    assert (broken.exit, len(codes(broken))) == (3, 1)
    registrar.answer(nonce)
    assert registrar.judge().exit == 0


def test_broken_session_is_refused(registrar: Registrar) -> None:
    registrar.answer(registrar.nonce())
    registrar.kept.write_bytes(registrar.kept.read_bytes()[:-9])
    broken = registrar.judge()
    assert (broken.exit, codes(broken)) == (3, ["session-malformed"])
    asked = registrar.ask("--json")
    assert (asked.exit, codes(asked)) == (3, ["session-malformed"])


def test_session_of_another_host_put_in_its_place(registrar: Registrar) -> None:
    registrar.answer(registrar.nonce())
    session = decode_session(registrar.kept.read_bytes())
    session.host = "xen7"
    registrar.kept.write_bytes(encode_session(session))
    assert codes(registrar.judge()) == ["session-malformed"]


def test_document_and_files(registrar: Registrar) -> None:
    asked = registrar.ask("--json", "--valid-for", "60")
    validator("enroll-nonce").validate(asked.document)
    assert asked.document["verdict"] == "asked"
    validator("session").validate(json.loads(registrar.kept.read_text()))
    assert stat.S_IMODE(registrar.kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(registrar.kept.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("seconds", ["0", "-1", "86401", "9" * 30])
def test_lifetime_out_of_bounds_is_wrong_usage(registrar: Registrar, seconds: str) -> None:
    assert registrar.ask("--valid-for", seconds).exit == 2


def put_challenged(registrar: Registrar, expires_at: datetime) -> None:
    """An enrolled host is challenged anew, perhaps for another key."""
    registrar.nonce()
    raw = json.loads(sessions()[0])
    raw["host"] = raw["challenge"]["host"] = HOST
    raw["expires_at"] = "2099-01-01T00:00:00Z"
    raw["challenge"]["expires_at"] = f"{expires_at:%Y-%m-%dT%H:%M:%SZ}"
    registrar.kept.write_text(json.dumps(raw))


def test_open_challenge_is_not_thrown_away(registrar: Registrar) -> None:
    put_challenged(registrar, datetime.now(UTC) + timedelta(minutes=5))
    refused = registrar.ask("--json")
    assert (refused.exit, codes(refused)) == (1, ["session-order"])


def test_challenge_that_nobody_answered_in_time_is_no_hindrance(registrar: Registrar) -> None:
    put_challenged(registrar, datetime.now(UTC) - timedelta(minutes=5))
    registrar.answer(registrar.nonce())
    assert registrar.judge().exit == 0


def test_session_that_ends_before_the_nonce_is_not_gone_on_with(registrar: Registrar) -> None:
    registrar.answer(registrar.nonce())
    assert registrar.judge().exit == 0
    raw = json.loads(registrar.kept.read_text())
    soon = datetime.now(UTC) + timedelta(seconds=30)
    registrar.kept.write_text(json.dumps({**raw, "expires_at": f"{soon:%Y-%m-%dT%H:%M:%SZ}"}))
    asked = registrar.ask("--json", "--valid-for", "600").document["nonce"]
    assert asked["session"] != raw["id"]
    assert asked["expires_at"] > f"{soon:%Y-%m-%dT%H:%M:%SZ}"


def test_13_evidence_before_the_challenge_was_answered(registrar: Registrar) -> None:
    put_challenged(registrar, datetime.now(UTC) + timedelta(minutes=5))
    registrar.answer(NONCE)
    early = registrar.judge()
    assert (early.exit, codes(early)) == (3, ["evidence-before-enrolment"])
    assert decode_session(registrar.kept.read_bytes()).state is State.CHALLENGED


def complete(registrar: Registrar, answer: bytes) -> Outcome:
    (registrar.path / "secret").write_bytes(answer)
    words = ("enroll", "complete", "--host", HOST, "--response", "secret", "--state", "anchors")
    outcome = registrar.run(*words, "-o", "enrolment.json", "--json")
    validator("enroll-complete").validate(outcome.document)
    return outcome


def test_12_late_answer(registrar: Registrar) -> None:
    put_challenged(registrar, datetime.now(UTC) - timedelta(seconds=1))
    late = complete(registrar, bytes(32))
    assert (late.exit, codes(late)) == (1, ["challenge-expired"])
    again = complete(registrar, bytes(32))
    assert (again.exit, codes(again)) == (1, ["challenge-unknown"])


@pytest.mark.parametrize("answer", [b"", bytes(31), bytes(33), b"\1" * 32, b"00" * 32, bytes(4096)])
def test_12_wrong_answer(registrar: Registrar, answer: bytes) -> None:
    put_challenged(registrar, datetime.now(UTC) + timedelta(minutes=5))
    wrong = complete(registrar, answer)
    assert (wrong.exit, codes(wrong)) == (1, ["challenge-response"])
    assert bytes(32).hex() not in wrong.out + wrong.err
    again = complete(registrar, bytes(32))
    assert (again.exit, codes(again)) == (1, ["challenge-unknown"])
    assert not (registrar.path / "enrolment.json").exists()

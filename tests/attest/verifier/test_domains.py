"""Domains and their vTPMs: what must not pass, and that one bad guest leaves its neighbours good."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attest.errors import AttestInputError, AttestUsageError
from attest.evidence import DomainEvidence, Evidence
from attest.result import Result, Verdict
from attest.runtime_events import DomainLaunch
from tests.conftest import REPOSITORY
from tests.disclosure import named
from tests.simulators.host import NONCE, DomainVtpm, Host, Tpm, codes, nodes, sha256
from vtpm.binding import Binding
from vtpm.record import RecordedLevel, RecordedRange
from vtpm.templates import attestation_key
from vtpm.tpm2.constants import Attributes
from vtpm.tpm2.pcrs import PcrSelection

MLS = (REPOSITORY / "configs" / "policies" / "mls.yaml").read_bytes()


@pytest.fixture
def host() -> Host:
    return Host.serving()


def changed(evidence: Evidence, index: int, **fields: object) -> Evidence:
    domains = list(evidence.domains)
    domains[index] = replace(domains[index], **fields)  # type: ignore[arg-type]
    return replace(evidence, domains=tuple(domains))


def platform_notes(result: Result) -> tuple[str, ...]:
    [platform] = [node for node in result.root.children if node.name == "platform"]
    return platform.notes


def assert_only_web_is_bad(result: Result, code: str, verdict: Verdict) -> None:
    assert (result.verdict, codes(result)) == (verdict, [code])
    good = {name for name, found in nodes(result).items() if found is Verdict.AFFIRMING}
    assert {"platform", "xen", "acm-policy", "domain keys", "keys vtpm"} <= good


class TestWhichDomains:
    def test_one_that_the_reference_has_is_not_shown(self, host: Host) -> None:
        del host.domains["web"]
        result = host.verify()
        assert (result.verdict, codes(result)) == (Verdict.INCONCLUSIVE, ["domain-missing"])
        assert nodes(result)["domain web"] is Verdict.INCONCLUSIVE

    def test_one_that_was_asked_for_is_not_shown(self, host: Host) -> None:
        result = host.verify(domains=frozenset({"web", "mail"}))
        assert (result.verdict, codes(result)) == (Verdict.INCONCLUSIVE, ["domain-missing"])

    def test_only_those_asked_for_are_judged(self, host: Host) -> None:
        host.relabel("keys", "dns")
        assert host.verify().verdict is Verdict.CONTRAINDICATED
        result = host.verify(domains=frozenset({"web"}))
        assert result.verdict is Verdict.AFFIRMING
        assert "domain keys" not in nodes(result)

    def test_one_that_the_reference_does_not_have(self, host: Host) -> None:
        del host.references["web"]
        assert_only_web_is_bad(host.verify(), "domain-not-in-reference", Verdict.CONTRAINDICATED)

    def test_a_tenant_is_shown_its_own_domain_only(self, host: Host) -> None:
        own = host.evidence(only=frozenset({"web"}))
        assert len(own.domains) == 1
        assert not named(own.encode(), {"bank-keys"})
        assert named(host.evidence().encode(), {"bank-keys"})
        result = host.verify(own, domains=frozenset({"web"}))
        assert result.verdict is Verdict.AFFIRMING
        assert "domains running 2, 1 of them not judged" in platform_notes(result)[-1]

    def test_without_a_name_the_reference_says_which_have_to_be_shown(self, host: Host) -> None:
        """A tenant has reference values for its own; who has them for all is not content with a part."""
        own = host.evidence(only=frozenset({"web"}))
        result = host.verify(own)
        assert (result.verdict, codes(result)) == (Verdict.INCONCLUSIVE, ["domain-missing"])
        del host.references["keys"]
        result = host.verify(own)
        assert result.verdict is Verdict.AFFIRMING
        assert {name for name in nodes(result) if name.startswith("domain")} == {"domain web"}
        assert "domains running 2, 1 of them not judged" in platform_notes(result)[-1]

    def test_a_part_cut_from_the_whole_is_as_good(self, host: Host) -> None:
        """Whoever carries evidence may leave domains away: each has its own way to the host's signature."""
        whole = host.evidence()
        own = replace(whole, domains=whole.domains[1:])
        assert own.tree_size == 2
        result = host.verify(own, domains=frozenset({"keys"}))
        assert result.verdict is Verdict.AFFIRMING
        assert "domains running 2, 1 of them not judged" in platform_notes(result)[-1]

    def test_what_is_shown_and_not_asked_for_is_not_called_judged(self, host: Host) -> None:
        assert "not judged" not in platform_notes(host.verify())[-1]
        result = host.verify(domains=frozenset({"web"}))
        assert "domains running 2, 1 of them not judged" in platform_notes(result)[-1]
        host.stop("keys")
        assert "domains running 1" in platform_notes(host.verify(domains=frozenset({"web"})))[-1]
        assert "not judged" not in platform_notes(host.verify(domains=frozenset({"web"})))[-1]

    def test_a_host_without_domains(self) -> None:
        host = Host.booted()
        host.load_policy(host.expected_policy)
        assert host.verify().verdict is Verdict.AFFIRMING

    def test_the_number_of_running_domains_is_noted(self, host: Host) -> None:
        host.stop("keys")
        [platform, *_] = host.verify().root.children
        assert platform.notes[-1] == "resets 7, domains running 1"


class TestLaunch:
    def test_two_domains_with_one_vid(self, host: Host) -> None:
        evidence = host.evidence()
        twice = replace(evidence, domains=(*evidence.domains, evidence.domains[0]))
        result = host.verify(twice)
        assert result.verdict is Verdict.NONE
        assert set(codes(result)) == {"domain-duplicate"}

    def test_two_domains_with_one_name(self, host: Host) -> None:
        host.domains["other"] = host.domains["web"]
        first = DomainLaunch.decode(host.domains["web"].launch)
        second = DomainVtpm("second", host.record("second", "cola-web"))
        second.bind(host.tpm)
        second.launch = replace(first, vid=second.vid).encode()
        host.domains["other"] = second
        result = host.verify()
        assert result.verdict is Verdict.NONE
        assert "domain-duplicate" in codes(result)

    def test_was_stopped(self, host: Host) -> None:
        host.stop("web")
        assert_only_web_is_bad(host.verify(), "domain-stopped", Verdict.CONTRAINDICATED)

    def test_is_not_in_pcr_13(self, host: Host) -> None:
        launch = DomainLaunch.decode(host.domains["web"].launch)
        evidence = changed(host.evidence(), 0, launch=replace(launch, salt="00" * 32).encode())
        assert_only_web_is_bad(host.verify(evidence), "launch-not-measured", Verdict.NONE)

    @pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b'{"type":"domain-launch"}'])
    def test_is_malformed(self, host: Host, raw: bytes) -> None:
        result = host.verify(changed(host.evidence(), 0, launch=raw))
        assert codes(result) == ["evidence-malformed", "domain-missing"]
        assert result.verdict is Verdict.NONE

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("kernel", sha256(b"other").hex()),
            ("ramdisk", None),
            ("config_digest", sha256(b"other").hex()),
            ("disks", ("xvda w stolen-disk",)),
            ("disks", ()),
        ],
    )
    def test_of_another_image(self, field: str, value: object) -> None:
        host = Host.booted()
        host.load_policy(host.expected_policy)
        host.launch("web", "cola-web", **{field: value})
        result = host.verify()
        assert (result.verdict, codes(result)) == (Verdict.CONTRAINDICATED, ["domain-image-not-in-reference"])
        [(_, reason)] = result.reasons()
        assert reason.detail == f"unlike the reference values: {field.removesuffix('_digest')}"

    def test_under_another_label(self) -> None:
        host = Host.booted()
        host.load_policy(host.expected_policy)
        host.launch("web", "cola-web")
        host.references["web"] = replace(host.references["web"], label="juice-web")
        assert codes(host.verify()) == ["domain-label-not-in-reference"]

    def test_under_an_earlier_policy_is_a_warning(self) -> None:
        host = Host.booted()
        host.load_policy(host.expected_policy + b"# old\n")
        host.launch("web", "cola-web")
        host.load_policy(host.expected_policy)
        result = host.verify()
        assert (result.verdict, codes(result)) == (Verdict.WARNING, ["domain-policy-earlier"])
        strict = replace(host.profile, verdicts={"domain-policy-earlier": Verdict.CONTRAINDICATED})
        assert host.verify(profile=strict).verdict is Verdict.CONTRAINDICATED

    def test_under_a_policy_that_the_host_never_measured(self) -> None:
        host = Host.booted()
        host.loaded = host.expected_policy + b"# never measured\n"
        host.launch("web", "cola-web")
        loaded = host.loaded
        host.load_policy(host.expected_policy)
        assert loaded != host.loaded
        assert codes(host.verify()) == ["domain-policy-unknown"]

    def test_under_a_label_that_the_expected_policy_does_not_have(self) -> None:
        host = Host.booted()
        host.load_policy(host.expected_policy.replace(b"cola-web", b"cola-www"))
        host.launch("web", "cola-www")
        result = host.verify()
        assert codes(result) == ["policy-mismatch", "domain-label-not-in-policy"]


class TestVtpm:
    def test_a_key_swapped_under_the_same_label(self, host: Host) -> None:
        launch = host.domains["web"].launch
        other = DomainVtpm("another", host.record("web", "cola-web"))
        other.bind(host.tpm)
        other.launch = launch
        host.domains["web"] = other
        assert_only_web_is_bad(host.verify(), "vtpm-changed", Verdict.CONTRAINDICATED)

    def test_a_neighbours_quote_presented_as_mine(self, host: Host) -> None:
        evidence = host.evidence()
        other = evidence.domains[1]
        stolen = changed(
            evidence, 0, quote=other.quote, signature=other.signature, pcrs=other.pcrs, vak=other.vak
        )
        result = host.verify(stolen)
        assert_only_web_is_bad(result, "nonce-mismatch", Verdict.NONE)

    def test_its_quote_is_not_under_the_hosts_signature(self, host: Host) -> None:
        vtpm = host.domains["web"]
        evidence = host.evidence()
        vtpm.clock += 1
        quote, signature = vtpm.quote(_extra(evidence.domains[0]), _selection(evidence.domains[0]))
        result = host.verify(changed(evidence, 0, quote=quote, signature=signature))
        assert_only_web_is_bad(result, "inclusion-invalid", Verdict.NONE)

    @pytest.mark.parametrize("proof", [(), (bytes(32),), (bytes(32),) * 3])
    def test_a_false_proof(self, host: Host, proof: tuple[bytes, ...]) -> None:
        result = host.verify(changed(host.evidence(), 0, proof=proof))
        assert_only_web_is_bad(result, "inclusion-invalid", Verdict.NONE)

    def test_the_record_shown_is_another(self, host: Host) -> None:
        record = host.record("web", "juice-web").encode()
        result = host.verify(changed(host.evidence(), 0, record=record))
        assert_only_web_is_bad(result, "vtpm-record-mismatch", Verdict.NONE)

    def test_bound_on_another_host(self, host: Host) -> None:
        host.domains["web"].bind(Tpm("another host"))
        result = host.verify()
        assert codes(result) == ["binding-mismatch"]

    def test_bound_before_the_last_reset(self) -> None:
        """The host restarted; its log was rebuilt with the old launch."""
        host = Host.serving()
        host.tpm.reset_count += 1
        result = host.verify()
        assert set(codes(result)) == {"binding-stale"}

    @pytest.mark.parametrize("field", ["record", "binding"])
    @pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff\xff"])
    def test_malformed_records(self, host: Host, field: str, raw: bytes) -> None:
        evidence = changed(host.evidence(), 0, **{field: raw})
        result = host.verify(evidence)
        assert codes(result) in (["evidence-malformed"], ["nonce-mismatch"])
        assert result.verdict is Verdict.NONE

    @pytest.mark.parametrize(
        ("name", "attributes"),
        [
            ("no policy", attestation_key(None).attributes),
            ("unrestricted", None),
        ],
    )
    def test_a_key_that_works_without_the_label(self, name: str, attributes: Attributes | None) -> None:
        host = Host.booted()
        host.load_policy(host.expected_policy)
        vtpm = DomainVtpm("web", host.record("web", "cola-web"))
        lax = attributes if attributes is not None else vtpm.public.attributes & ~Attributes.RESTRICTED
        vtpm.public = replace(vtpm.public, attributes=lax)
        self._launched_with(host, vtpm, vtpm.bind(host.tpm))
        result = host.verify()
        assert codes(result) == ["vak-attributes"], name
        assert result.verdict is Verdict.NONE

    def test_a_key_with_another_policy(self) -> None:
        host = Host.booted()
        host.load_policy(host.expected_policy)
        vtpm = DomainVtpm("web", host.record("web", "cola-web"))
        vtpm.public = replace(vtpm.public, auth_policy=bytes(32))
        self._launched_with(host, vtpm, vtpm.bind(host.tpm))
        assert codes(host.verify()) == ["vak-attributes"]

    def test_a_record_with_other_types_than_the_policy_has(self) -> None:
        host = Host.booted()
        host.load_policy(host.expected_policy)
        vtpm = DomainVtpm("web", host.record("web", "cola-web", ste_types=("bank", "cola")))
        self._launched_with(host, vtpm, vtpm.bind(host.tpm))
        result = host.verify()
        assert (result.verdict, codes(result)) == (Verdict.CONTRAINDICATED, ["record-unlike-policy"])

    @pytest.mark.parametrize(
        "changed",
        [
            None,
            RecordedRange(RecordedLevel("secret"), RecordedLevel("secret"), trusted=False),
            RecordedRange(RecordedLevel("internal"), RecordedLevel("internal"), trusted=True),
            RecordedRange(RecordedLevel("public"), RecordedLevel("internal"), trusted=True),
            RecordedRange(
                RecordedLevel("internal", ("navy",)), RecordedLevel("internal", ("navy",)), trusted=False
            ),
        ],
    )
    def test_a_record_with_other_levels_than_the_policy_has(self, changed: RecordedRange | None) -> None:
        host = Host.booted(expected_policy=MLS)
        host.load_policy(MLS)
        vtpm = DomainVtpm("web", host.record("web", "office", mls=changed))
        self._launched_with(host, vtpm, vtpm.bind(host.tpm), "office")
        result = host.verify()
        assert (result.verdict, codes(result)) == (Verdict.CONTRAINDICATED, ["record-unlike-policy"])

    def test_a_record_with_levels_where_the_policy_has_none(self) -> None:
        host = Host.booted()
        host.load_policy(host.expected_policy)
        flat = RecordedRange(RecordedLevel("public"), RecordedLevel("public"), trusted=False)
        vtpm = DomainVtpm("web", host.record("web", "cola-web", mls=flat))
        self._launched_with(host, vtpm, vtpm.bind(host.tpm))
        assert codes(host.verify()) == ["record-unlike-policy"]

    @pytest.mark.parametrize("label", ["office", "navy-plans", "release-guard"])
    def test_the_levels_of_the_policy_are_good(self, label: str) -> None:
        host = Host.booted(expected_policy=MLS)
        host.load_policy(MLS)
        host.launch("web", label)
        assert host.verify().verdict is Verdict.AFFIRMING

    @staticmethod
    def _launched_with(host: Host, vtpm: DomainVtpm, binding: Binding, label: str = "cola-web") -> None:
        launch = host.launch("web", label, binding_digest=binding.digest().hex())
        vtpm.launch = launch.encode()
        host.domains["web"] = vtpm


class TestAttester:
    @pytest.mark.parametrize("length", [0, 15, 65])
    def test_refuses_a_nonce_of_another_length(self, host: Host, length: int) -> None:
        with pytest.raises(AttestUsageError):
            host.evidence(nonce=bytes(length))

    def test_gives_up_on_a_guest_that_never_stands_still(self, host: Host) -> None:
        vtpm = host.domains["web"]
        quote = vtpm.quote

        def and_extend(extra: bytes, selection: PcrSelection) -> tuple[bytes, bytes]:
            quoted = quote(extra, selection)
            vtpm.extend(0, sha256(b"again"))
            return quoted

        vtpm.quote = and_extend  # type: ignore[method-assign]
        with pytest.raises(AttestInputError):
            host.evidence()

    def test_one_host_signature_for_all_guests(self, host: Host) -> None:
        made: list[bytes] = []
        quote = host.tpm.quote
        host.tpm.quote = lambda *arguments: made.append(b"") or quote(*arguments)  # type: ignore[method-assign, func-returns-value]
        for i in range(30):
            host.launch(f"batch{i}", "batch")
        assert len(host.evidence(NONCE).domains) == 32
        assert len(made) == 1


def _extra(domain: DomainEvidence) -> bytes:
    return sha256(b"V" + NONCE + sha256(domain.binding))


def _selection(domain: DomainEvidence) -> PcrSelection:
    from vtpm.tpm2.constants import Alg

    return PcrSelection.of(Alg.SHA256, [pcr.index for pcr in domain.pcrs])

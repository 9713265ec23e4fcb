"""``shype policy import`` and ``export``: ACM XML of Xen 3.x to a native policy and back."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shype.cli.policy_options import add_policy
from shype.cli.verb import Verbs, add_verb
from shype.errors import ShypeUsageError
from shype.report import Exit, Json, Report

if TYPE_CHECKING:
    from acm.policy import Policy

_IMPORT: Final = """\
Reads SecurityPolicyDefinition (Xen 3.0.3 to 4.1), and the older pair of two files; the
label template of X-security_policy.xml is looked for beside it, as
X-security_label_template.xml, where --labels does not name it. What a native policy
cannot say with the same meaning is refused with line and column; what has no meaning for
any decision is left out and listed (docs/acm-xml.md).

Exit: 0 written, 2 wrong usage or no such file, 3 a file that is refused.

Example:
  shype policy import old-security_policy.xml -o old.yaml
"""

_EXPORT: Final = """\
Writes a policy as SecurityPolicyDefinition of Xen 3.1 to 4.1. What ACM cannot say (MLS,
history, a salt) is refused by name. The same meaning gives the same bytes, and importing
them gives the same policy; both are checked before the file is written.

Exit: 0 written, 2 wrong usage, no such file or a policy that ACM cannot say,
3 broken policy file.

Example:
  shype policy export configs/policies/datacenter.yaml -o datacenter-security_policy.xml
"""

_POLICY_NAME: Final = "security_policy.xml"
_LABELS_NAME: Final = "security_label_template.xml"


def register(verbs: Verbs) -> None:
    """Add the verbs."""
    verb = add_verb(verbs, "import", "turn ACM XML of Xen 3.x into a policy file", _IMPORT, _import)
    verb.add_argument("xml", type=Path, metavar="FILE.xml", help="policy of Xen 3.x")
    verb.add_argument("--labels", type=Path, metavar="FILE.xml", help="label template of an older policy")
    _add_output(verb, "FILE.yaml")
    verb = add_verb(verbs, "export", "write a policy as ACM XML of Xen 3.x", _EXPORT, _export)
    add_policy(verb)
    _add_output(verb, "FILE.xml")


def _add_output(verb: argparse.ArgumentParser, metavar: str) -> None:
    verb.add_argument("-o", "--output", type=Path, required=True, metavar=metavar, help="file to write")


def _import(arguments: argparse.Namespace) -> Report:
    from acm.xmlpolicy import import_policy, needs_labels
    from acm.xmltree import MAX_SIZE
    from shype.files import read

    output = _regular(arguments.output)
    data = read(arguments.xml, MAX_SIZE)
    labels = arguments.labels
    if labels is None and needs_labels(data, str(arguments.xml)):
        labels = _beside(arguments.xml)
    found = import_policy(
        data,
        None if labels is None else read(labels, MAX_SIZE),
        source=str(arguments.xml),
        labels_source=str(labels),
    )
    document: dict[str, Json] = {
        **_written(found.policy, output, found.data),
        "labels_from": None if labels is None else str(labels),
        "notes": [{"code": note.code, "detail": note.detail} for note in found.notes],
    }
    lines = [_line(found.policy, output), *(f"  {note.code}: {note.detail}" for note in found.notes)]
    return Report(Exit.OK, document, "\n".join(lines))


def _export(arguments: argparse.Namespace) -> Report:
    from acm.xmlexport import export_policy
    from shype.policies import load

    output = _regular(arguments.output)
    policy = load(arguments.policy)
    return Report(Exit.OK, _written(policy, output, export_policy(policy)), _line(policy, output))


def _beside(policy: Path) -> Path | None:
    """Return the label template beside a policy of ACM's own naming, None where there is none."""
    labels = policy.with_name(policy.name.removesuffix(_POLICY_NAME) + _LABELS_NAME)
    return labels if policy.name.endswith(_POLICY_NAME) and labels.is_file() else None


def _regular(output: Path) -> Path:
    """Refuse to put a file in place of a device or a pipe."""
    if output.exists() and not output.is_file():
        raise ShypeUsageError(f"{output}: not a regular file; name a file to write")
    return output


def _written(policy: Policy, output: Path, data: bytes) -> dict[str, Json]:
    from shype.files import write

    write(output, data)
    return {
        "name": policy.name,
        "version": policy.version,
        "root": policy.root,
        "components": [str(component) for component in policy.components],
        "domain_labels": len(policy.domain_labels),
        "resource_labels": len(policy.resource_labels),
        "output": str(output),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _line(policy: Policy, output: Path) -> str:
    labels = f"{len(policy.domain_labels)} domain and {len(policy.resource_labels)} resource labels"
    enforced = ", ".join(policy.components) or "nothing: everything is permitted"
    return f"{output}: policy {policy.name} {policy.version}, {labels}, enforces {enforced}"

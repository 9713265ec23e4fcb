"""Arguments that several verbs of ``shype policy`` have in common."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acm.history import Anchor


def add_policy(verb: argparse.ArgumentParser) -> None:
    """Add POLICY, the policy file."""
    verb.add_argument("policy", type=Path, metavar="POLICY", help="policy file (YAML, shype.policy/1)")


def add_running(verb: argparse.ArgumentParser) -> None:
    """Add what runs on the host and has run there."""
    verb.add_argument(
        "--running",
        action="append",
        default=[],
        metavar="LABEL",
        help="label of a domain that runs on the host; may be given many times",
    )
    verb.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help="what has run on the host, where the policy counts past runs (shype.chwall-history/1)",
    )
    verb.add_argument(
        "--newest-history",
        type=_anchor,
        metavar="SEQUENCE:DIGEST",
        help="which history is the newest one of this host, as its TPM or its log says",
    )


def _anchor(text: str) -> Anchor:
    from shype.policies import anchor

    return anchor(text)

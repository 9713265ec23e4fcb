"""``python -m tools.conformance [--check]``: write docs/conformance.md, or fail if the score fell."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from tools.conformance.judges import judge
from tools.conformance.page import page, read_scores, scores
from tools.conformance.vector import ROOT, VECTORS, scored

PAGE: Final = ROOT / "docs" / "conformance.md"


def main(arguments: list[str]) -> int:
    """Judge all vectors; 0, 1 where the score fell, 2 where there are no vectors."""
    parser = argparse.ArgumentParser(prog="python -m tools.conformance", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare with the page")
    check: bool = parser.parse_args(arguments).check
    if not (VECTORS / "manifest.jsonl").is_file():
        print(f"conformance: {VECTORS} is not here", file=sys.stderr)
        return 2
    outcomes = [judge(vector) for vector in scored()]
    if not check:
        PAGE.write_text(page(outcomes))
        return 0
    found, stated = scores(outcomes), read_scores(PAGE.read_text())
    fallen = [kind for kind, score in stated.items() if kind not in found or found[kind].below(score)]
    for kind in fallen:
        print(f"conformance: {kind} fell below docs/conformance.md", file=sys.stderr)
    return 1 if fallen or not stated else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

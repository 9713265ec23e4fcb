"""Who may import what: the lists of the import contracts are complete, and the pure half is pure.

The contracts themselves stand in pyproject.toml; ``make check`` runs them.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

import grimp
import pytest

from tests.conftest import REPOSITORY
from tests.discovery import PACKAGES, modules
from tests.simulators.desk import COMMANDS, furnish

BELOW: Final = tuple(package for package in PACKAGES if package != "shype")
"""The packages that are divided into pure and machine; shype is all rim."""

IMPURE: Final = frozenset({"open", "input", "print", "exec", "eval", "compile", "__import__", "breakpoint"})
CLOCKS: Final = frozenset({"now", "today", "utcnow", "uuid1", "uuid4", "getnode", "generate_private_key"})
"""Calls that bring time or randomness from the machine, whoever is asked."""


@cache
def contracts() -> dict[str, dict[str, Any]]:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    return {each["id"]: each for each in settings["tool"]["importlinter"]["contracts"]}


def is_below(module: str, above: str) -> bool:
    return module == above or module.startswith(f"{above}.")


def listed(contract: str, field: str) -> list[str]:
    """The modules of ours that a contract names, each with what is below it."""
    names = [name for name in contracts()[contract][field] if name.partition(".")[0] in PACKAGES]
    return [module for module in modules() if any(is_below(module, name) for name in names)]


def test_every_module_is_pure_or_of_the_machine() -> None:
    pure, machine = set(listed("pure", "source_modules")), set(listed("offline", "forbidden_modules"))
    parents = {module.rpartition(".")[0] for module in pure | machine}
    divided = {module for module in modules() if module.partition(".")[0] in BELOW} - set(BELOW) - parents
    assert not divided - pure - machine, (
        "list them in pyproject.toml: as pure, or among the machine's modules"
    )
    assert not pure & machine


def test_the_offline_half_is_listed_where_it_is_judged() -> None:
    """Whatever judges stands under the contract; a verdict module that is not would be free to open a TPM."""
    offline = set(listed("offline", "source_modules"))
    judges = [name for name in modules() if is_below(name, "attest.verifier") or name.endswith(".audit")]
    assert offline >= set(judges) - {"hypervisor.audit"}


@pytest.mark.parametrize("module", listed("pure", "source_modules"))
def test_the_pure_half_asks_nothing_of_the_machine(module: str) -> None:
    """What is built in needs no import, so import-linter does not see it."""
    path = REPOSITORY.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body = [
        each
        for each in ast.parse(file.read_text()).body
        if ast.unparse(each).partition(":")[0] != _AS_PROGRAM
    ]
    for node in ast.walk(ast.Module(body, [])):
        if isinstance(node, ast.Call):
            plain = node.func.id if isinstance(node.func, ast.Name) else ""
            attribute = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            assert plain not in IMPURE, f"{file}:{node.lineno}: {plain}()"
            assert {plain, attribute}.isdisjoint(CLOCKS), f"{file}:{node.lineno}: {attribute or plain}()"


_AS_PROGRAM: Final = "if __name__ == '__main__'"
"""What runs only when a module is a program (attest.reasons writes its own page)."""


def test_measuring_and_predicting_share_only_the_error_roots() -> None:
    graph = grimp.build_graph(*PACKAGES)

    def reach(package: str) -> set[str]:
        own = {module for module in graph.modules if is_below(module, package)}
        return own.union(*(graph.find_upstream_modules(module) for module in own))

    assert reach("attest.boot") & reach("attest.predict") == {"attest.errors"}


_BLOCKED: Final = """
import json, sys
for name in ("tpm2_pytss", "subprocess", "ctypes"):
    sys.modules[name] = None
from shype.main import main
codes = [int(main(words)) for words in json.load(sys.stdin)]
print(json.dumps(codes), file=sys.stderr)
"""


_LOADED: Final = """
import json, sys
from shype.main import main
code = int(main(json.load(sys.stdin)))
print(code, sorted(name for name in sys.modules if name.startswith(("shype.remote", "shype.agent", "h11"))),
      file=sys.stderr)
"""


def test_a_file_is_judged_without_what_asks_hosts(tmp_path: Path) -> None:
    """shype.cli.verify may import shype.remote, for a URL; with a file it does not."""
    words = next(command.words for command in COMMANDS if command.words[0] == "verify")
    desk = furnish(tmp_path / "desk")
    run = [sys.executable, "-W", "error", "-c", _LOADED]
    done = subprocess.run(run, input=json.dumps(words), cwd=desk, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "0 []"


def test_the_wheel_without_the_extra_host_verifies_audits_decides_and_predicts(tmp_path: Path) -> None:
    """Nothing offline needs tpm2-pytss, or could start a program."""
    offline = [command for command in COMMANDS if command.words[0] != "doctor"]  # which looks at this machine
    words = json.dumps([[*command.words, "--json"] for command in offline])
    desk = furnish(tmp_path / "desk")
    run = [sys.executable, "-W", "error", "-c", _BLOCKED]
    done = subprocess.run(run, input=words, cwd=desk, capture_output=True, text=True, check=False)
    assert json.loads(done.stderr.splitlines()[-1]) == [command.exit for command in offline], done.stderr

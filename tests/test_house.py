"""House rules that no other tool checks: names, sizes, links, schemas, nothing of one machine."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

from tests.conftest import REPOSITORY
from tests.discovery import PACKAGES
from tests.schemas import BASE, FOLDER, schemas
from tests.shype.test_cli_contract import VERBS, schema_of

MAX_LINES: Final = 500
EMPTY_NAMES: Final = re.compile(r"(?:^|_)(?:utils?|helpers?|common|misc|stuff|manager)(?:_|$)")
TCG_NAMES: Final = frozenset({"vtpm_manager"})
MACHINE: Final = re.compile(
    r"/(?:home(?!/me\b)|Users|root|work|mnt|media)/(?!\$|<)[\w.-]+"
    r"|(?<![\d.])(?:10\.(?:0|\d{2,3})|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2}(?![\d.])"
    r"|\b[\w-]+\.(?:internal|local|lan|corp)\b(?!-)"
)
"""Folders, addresses and hosts that exist on one machine only; 10.4.5.3 is a section of a text."""


@cache
def committed() -> tuple[Path, ...]:
    """The files of the repository: those that git knows, and new ones that it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = (REPOSITORY / name for name in listed.stdout.decode().split("\0") if name)
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


def texts() -> Iterator[tuple[Path, str]]:
    for path in committed():
        raw = path.read_bytes()
        if b"\0" not in raw:
            yield path, raw.decode("utf-8", "replace")


def python() -> list[Path]:
    return [path for path in committed() if path.suffix == ".py"]


def product() -> list[Path]:
    return [path for path in python() if path.relative_to(REPOSITORY).parts[0] in PACKAGES]


def test_nothing_of_one_machine_is_in_the_repository() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}: {match.group()}"
        for path, text in texts()
        if path != Path(__file__).resolve()
        for match in MACHINE.finditer(text)
    ]
    assert found == []


def test_texts_are_utf8_end_with_a_line_end_and_have_no_trailing_blanks() -> None:
    for path, text in texts():
        if path.suffix in {".py", ".md", ".toml", ".json", ".yaml", ".cfg"} and not {
            "recordings",
            "bad_policies",
        } & set(path.parts):
            assert "\ufffd" not in text or path.suffix == ".py", path
            assert text.endswith("\n"), path
            assert "\r" not in text, path
            assert not re.search(r"[ \t]+$", text, re.MULTILINE), path


def test_files_are_short() -> None:
    long = {
        str(path): count for path in python() if (count := len(path.read_text().splitlines())) >= MAX_LINES
    }
    assert long == {}


def test_modules_are_named_by_an_idea() -> None:
    names = {path.stem for path in product()} | {path.parent.name for path in product()}
    assert {name for name in names - TCG_NAMES if EMPTY_NAMES.search(name)} == set()


@pytest.mark.parametrize("path", [path for path in product() if path.name == "__init__.py"], ids=str)
def test_package_inits_import_nothing(path: Path) -> None:
    """Importing one module must not pull in another half of its package."""
    (docstring,) = ast.parse(path.read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_every_package_has_its_two_error_roots() -> None:
    for package in PACKAGES:
        text = (REPOSITORY / package / "errors.py").read_text()
        for kind in ("Input", "Usage"):
            assert f"class {package.capitalize()}{kind}Error(Exception):" in text


class TestSchemas:
    @pytest.mark.parametrize("name", schemas())
    def test_it_is_a_strict_schema_of_2020_12(self, name: str) -> None:
        schema = schemas()[name]
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert schema["$id"] == f"{BASE}{name}.schema.json"
        assert schema["title"]
        jsonschema.Draft202012Validator.check_schema(schema)
        for place, inner in _objects(schema, name):
            assert "additionalProperties" in inner or "$ref" in inner or "unevaluatedProperties" in inner, (
                place
            )

    @pytest.mark.parametrize("name", schemas())
    def test_its_references_lead_somewhere(self, name: str) -> None:
        text = json.dumps(schemas()[name])
        for reference in re.findall(r'"\$ref": "([^"#]+)', text):
            assert reference.removeprefix(BASE).removesuffix(".schema.json") in schemas(), reference

    def test_nothing_else_lies_there(self) -> None:
        assert {path.name for path in FOLDER.iterdir()} == {f"{name}.schema.json" for name in schemas()}

    def test_each_is_held_against_what_is_really_written(self) -> None:
        """By the contract of the command line, or by a test that names it."""
        outputs = {schema_of(verb) for verb in VERBS} | {"error"}
        tested = "".join(
            path.read_text() for path in python() if "tests" in path.parts and "schema" in path.read_text()
        )
        unused = {name for name in schemas().keys() - outputs if not re.search(rf"\b{name}\b", tested)}
        assert unused == set()


def _objects(schema: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every subschema that describes an object by its properties."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            yield place, schema
        for name, inner in schema.items():
            yield from _objects(inner, f"{place}/{name}")
    elif isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from _objects(inner, f"{place}/{number}")


DOCUMENTS: Final = sorted(path for path in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")))
_LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")
_HEADING: Final = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of headings."""
    headings = (re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", each) for each in _HEADING.findall(text))
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in _LINK.findall(path.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{path.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text()), f"{path.name}: {link}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_documents_name_exist(path: Path) -> None:
    """`configs/…`, `docs/…`, `tests/…` and modules in code quotes; a pattern or a placeholder is no name."""
    quoted = re.findall(
        r"`((?:configs|docs|tests|acm|attest|hypervisor|metering|shype|vtpm)/[\w./-]*(?:\.\w+|/))`",
        path.read_text(),
    )
    missing = [
        name
        for name in quoted
        if not (REPOSITORY / name).exists() and not (REPOSITORY / f"{name}.py").exists()
    ]
    assert missing == []


_NAMED: Final = re.compile(
    rf"``((?:{'|'.join(PACKAGES)})(?:\.\w+)+)``|:\w+:`~?((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`|"
    r"python3? -m (\w+(?:\.\w+)+)"
)


def names_something(dotted: str) -> bool:
    """Tell whether a module is there, and has what the last words name; nothing is imported."""
    parts = dotted.split(".")
    for size in range(len(parts), 0, -1):
        place = REPOSITORY.joinpath(*parts[:size])
        module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if module.is_file() or (place.is_dir() and size == len(parts)):
            text = module.read_text() if module.is_file() else ""
            return all(re.search(rf"\b{re.escape(each)}\b", text) for each in parts[size:])
    return False


@pytest.mark.parametrize("path", python(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_modules_that_a_docstring_names_exist(path: Path) -> None:
    named = {next(filter(None, found)) for found in _NAMED.findall(path.read_text())}
    assert [each for each in sorted(named) if not names_something(each)] == []

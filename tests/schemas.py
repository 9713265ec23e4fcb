"""The JSON Schemas of configs/schema, with their references to each other resolved from the folder."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

import jsonschema
import referencing

from tests.conftest import REPOSITORY

FOLDER: Final = REPOSITORY / "configs" / "schema"
BASE: Final = "https://shype.example/schema/"


@cache
def schemas() -> dict[str, Any]:
    """All schemas by name, which is the file's without ``.schema.json``."""
    found = sorted(FOLDER.glob("*.schema.json"))
    return {path.name.removesuffix(".schema.json"): json.loads(path.read_text()) for path in found}


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """Return what holds a document against the schema ``name``."""
    registry: Any = referencing.Registry().with_resources(
        (f"{BASE}{each}.schema.json", referencing.Resource.from_contents(schema))
        for each, schema in schemas().items()
    )
    return jsonschema.Draft202012Validator(schemas()[name], registry=registry)

"""The configs that come with the product: ``configs/`` of a checkout, ``shype/configs/`` of a wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from shype.errors import ShypeUsageError

_HERE: Final = Path(__file__).resolve().parent
ROOT: Final = next(path for path in (_HERE / "configs", _HERE.parent / "configs") if path.is_dir())


def find(given: str, kind: str) -> Path:
    """Return the file that a person means: a path, or the name of a packaged ``configs/KIND/NAME.yaml``.

    Raises ShypeUsageError when neither is there.
    """
    path = Path(given)
    packaged = ROOT / kind / f"{given}.yaml"
    if "/" not in given and not path.exists() and packaged.is_file():
        return packaged
    if not path.exists():
        names = ", ".join(sorted(each.stem for each in (ROOT / kind).glob("*.yaml")))
        raise ShypeUsageError(f"{given}: no such file; packaged {kind}: {names}")
    return path

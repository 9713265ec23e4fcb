"""What a verifier remembers of the quotes of each host: ``HOST.clock`` beside the enrolment ``HOST.json``.

Read before a host is judged, and replaced after an authentic result, both under the lock of the folder, so
that two verifiers take turns. Where it cannot be kept, nothing is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attest.enrolment import Enrolment
from attest.quote_history import MAX_FILE, QuoteHistory, Told, after
from shype.files import SECRET, locked, read, replacing

Remember = Callable[[Told], None]


@contextmanager
def remembered(record: Path, enrolment: Enrolment) -> Iterator[tuple[QuoteHistory | None, Remember]]:
    """Give what is known of the enrolled TPM, and a function that keeps what an authentic quote told.

    ``record`` is the file of the enrolment. Raises QuoteHistoryError, and OSError where nothing can be kept.
    """
    path = record.with_name(f"{record.name.removesuffix('.json')}.clock")
    with locked(path.parent), replacing(path, SECRET) as commit:
        history = QuoteHistory.decode(read(path, MAX_FILE)) if path.exists() else None

        def remember(told: Told) -> None:
            commit(after(history, enrolment, told).encode())

        yield (history if history is not None and history.is_of(enrolment) else None), remember

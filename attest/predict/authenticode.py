"""The Authenticode digest of a PE image: what firmware extends into PCR 4 for an application it starts.

Source: Microsoft, Windows Authenticode Portable Executable Signature Format, "Calculating the PE Image Hash";
TCG PC Client Platform Firmware Profile, PCR 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from attest.predict.pe import ImageError, Layout, Span, layout


def digests(image: bytes, algorithms: Sequence[str]) -> dict[str, bytes]:
    """Return the Authenticode digest of ``image`` by each of ``algorithms`` (hashlib names).

    Hashed are the headers without the CheckSum field and without the certificate table's directory entry,
    then the raw data of the sections in file order, then what follows them except the certificates. Raises
    ``ImageError`` for an image that is cut short, overlaps itself or holds data after its certificates.
    """
    found = {name: hashlib.new(name) for name in algorithms}
    view = memoryview(image)
    for span in _hashed(layout(image), len(image)):
        for state in found.values():
            state.update(view[span.start : span.end])
    return {name: state.digest() for name, state in found.items()}


def _hashed(parts: Layout, size: int) -> list[Span]:
    after_checksum = parts.checksum + 4
    spans = [Span(0, parts.checksum)]
    if parts.certificate_entry is None:
        spans.append(Span(after_checksum, parts.headers_end))
    else:
        spans.append(Span(after_checksum, parts.certificate_entry))
        spans.append(Span(parts.certificate_entry + 8, parts.headers_end))
    sections = sorted((each.span for each in parts.sections if each.span.end), key=lambda span: span.start)
    spans.extend(sections)
    counted = parts.headers_end + sum(span.end - span.start for span in sections)
    end = parts.certificates.start if parts.certificates else size
    if counted > end:
        raise ImageError(f"PE image: certificates at byte {end} overlap the sections; take an intact file")
    return [*spans, Span(counted, end)]

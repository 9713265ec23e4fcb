"""XML that is not plain is refused with its place, and fast."""

from __future__ import annotations

import pytest

from acm.errors import PolicyFileError
from acm.xmltree import MAX_ELEMENTS, MAX_SIZE, MAX_TEXT, Shape, read
from tests.spending import at_most

TEXT = Shape()
ROOTS = {
    "a": Shape(
        {"b": TEXT, "many": TEXT, "deep": Shape({"b": TEXT}, needed=frozenset({"b"}))},
        many=frozenset({"many"}),
        attributes=frozenset({"x"}),
    )
}
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(20))

BAD = {
    "a document type": ("<!DOCTYPE a><a/>", "doctype", 1, 1),
    "a billion laughs": (f"<!DOCTYPE a [{LAUGHS}]>\n<a><b>&l19;</b></a>", "doctype", 1, 1),
    "an external entity": (
        '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a><b>&e;</b></a>',
        "doctype",
        1,
        1,
    ),
    "a document type from elsewhere": ('<?xml version="1.0"?>\n<!DOCTYPE a SYSTEM "x"><a/>', "doctype", 2, 1),
    "an unknown entity": ("<a><b>&e;</b></a>", "syntax", 1, 7),
    "an instruction": ("<a>\n <?run this?></a>", "instruction", 2, 2),
    "a stylesheet": ("<?xml-stylesheet href='x'?><a/>", "instruction", 1, 1),
    "CDATA": ("<a><b><![CDATA[x]]></b></a>", "cdata", 1, 7),
    "a comment inside a name": ("<a><b>x<!-- y -->z</b></a>", "comment-in-text", 1, 8),
    "a comment before a name": ("<a><b><!-- y -->z</b></a>", "comment-in-text", 1, 7),
    "text between elements": ("<a>\n  <b>x</b> stray</a>", "mixed-content", 2, 11),
    "an unknown outermost element": ("<q/>", "unknown-element", 1, 1),
    "an unknown element": ("<a>\n  <b>x</b>\n  <q/></a>", "unknown-element", 3, 3),
    "an element inside text": ("<a><b>x<b/></b></a>", "unknown-element", 1, 8),
    "an element of another name space": ('<a><b xmlns="urn:x">1</b></a>', "unknown-element", 1, 4),
    "a name space of others": ('<a xmlns="urn:x"/>', "unknown-element", 1, 1),
    "a prefix of others": ('<a xmlns:p="urn:x"><p:b>1</p:b></a>', "unknown-element", 1, 20),
    "a prefix of nobody": ("<a><p:b>1</p:b></a>", "syntax", 1, 4),
    "an unknown attribute": ('<a>\n<b y="1"/></a>', "unknown-attribute", 2, 1),
    "an attribute of another name space": ('<a xmlns:p="urn:x" p:x="1"/>', "unknown-attribute", 1, 1),
    "an attribute twice": ('<a x="1" x="2"/>', "syntax", 1, 10),
    "a second element": ("<a>\n <b>1</b>\n <b>2</b></a>", "duplicate-element", 3, 2),
    "a missing element": ("<a>\n <deep></deep></a>", "missing-element", 2, 2),
    "two outermost elements": ("<a/><a/>", "syntax", 1, 5),
    "text after the end": ("<a/>x", "syntax", 1, 5),
    "an open end": ("<a><b>", "syntax", 1, 7),
    "crossed ends": ("<a><b></a></b>", "syntax", 1, 9),
    "nothing": ("", "syntax", 1, 1),
    "no XML": ("name: x", "syntax", 1, 1),
    "XML 1.1": ('<?xml version="1.1"?><a/>', "xml-version", 1, 1),
    "another encoding": ('<?xml version="1.0" encoding="ISO-8859-1"?>\n<a/>', "encoding", 1, 1),
    "a control character": ("<a><b>\x01</b></a>", "syntax", 1, 7),
    "a long text": (f"<a><b>{'x' * (MAX_TEXT + 1)}</b></a>", "too-long", 1, 7),
    "a long attribute": (f'<a x="{"x" * (MAX_TEXT + 1)}"/>', "too-long", 1, 1),
    "a long text in pieces": (f"<a><b>{'x&#10;' * MAX_TEXT}</b></a>", "too-long", None, None),
    "many elements": (f"<a>{'<many/>' * MAX_ELEMENTS}</a>", "too-many", None, None),
    "bottomless nesting": ("<a>" * 100_000, "unknown-element", 1, 4),
}


@pytest.mark.parametrize(("text", "code", "line", "column"), BAD.values(), ids=BAD)
def test_refused(text: str, code: str, line: int | None, column: int | None) -> None:
    with at_most(5), pytest.raises(PolicyFileError) as caught:
        read(text.encode(), ROOTS, "file.xml")
    assert caught.value.code == code, str(caught.value)
    if line is not None:
        assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith(f"file.xml:{caught.value.line}:{caught.value.column}: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '<a xmlns="http://www.ibm.com"><b xmlns="">1</b></a>',
            "element 'b' of no name space is not known in 'a'",
        ),
        (
            '<a><b xmlns="http://www.ibm.com">1</b></a>',
            "element 'b' of name space 'http://www.ibm.com' is not",
        ),
        ('<a><b xmlns="urn:x">1</b></a>', "element 'b' of name space 'urn:x' is not known in 'a'"),
        ("<a><q/></a>", "element 'q' is not known in 'a'; there may stand: "),
    ],
)
def test_a_known_element_of_another_name_space_is_told_from_an_unknown_one(text: str, said: str) -> None:
    with pytest.raises(PolicyFileError) as caught:
        read(text.encode(), ROOTS, "f")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("data", "code", "line", "column"),
    [
        (b"<a>\n<b>\xff</b></a>", "not-utf-8", 2, 4),
        ("<a>é\n<b>".encode() + b"\xc3(</b></a>", "not-utf-8", 2, 4),
        ("<a/>".encode("utf-16"), "not-utf-8", 1, 1),
        (b"\xed\xa0\x80", "not-utf-8", 1, 1),
        (b"<a/>" + b" " * MAX_SIZE, "too-big", 1, 1),
    ],
)
def test_other_bytes_are_refused(data: bytes, code: str, line: int, column: int) -> None:
    with pytest.raises(PolicyFileError) as caught:
        read(data, ROOTS, "file.xml")
    assert (caught.value.code, caught.value.line, caught.value.column) == (code, line, column)


def test_a_good_file_is_a_tree_with_places() -> None:
    text = '<?xml version="1.0"?>\n<!-- c -->\n<a x="1">\n  <b>o &amp; &#107;</b><!-- d -->\n'
    text += "  <many/>\n  <many>2</many></a>\n"
    root = read(text.encode(), ROOTS, "file.xml")
    b = root.child("b")
    assert b is not None
    assert (b.text, b.at.line, b.at.column, b.text_at.column) == ("o & k", 4, 3, 6)
    assert [one.text for one in root.all("many")] == ["", "2"]
    assert root.attribute("x") == "1"
    with pytest.raises(PolicyFileError, match="needs attribute 'y'") as caught:
        root.attribute("y")
    assert caught.value.code == "missing-attribute"


@pytest.mark.parametrize(
    "text",
    [
        '<a xmlns="http://www.ibm.com"><b>1</b></a>',
        '<p:a xmlns:p="http://www.ibm.com"><p:b>1</p:b></p:a>',
        '<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="u v"><b>1</b></a>',
        "\ufeff<a><b>1</b></a>",
    ],
)
def test_the_name_space_of_acm_and_a_hint_of_its_schema_are_fine(text: str) -> None:
    b = read(text.encode(), ROOTS, "file.xml").child("b")
    assert b is not None
    assert b.text == "1"

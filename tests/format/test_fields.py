"""What a field of a file may hold: each kind takes what it should, and names field, value, mend and place of what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from mbox.errors import Usage
from mbox.format import fields
from mbox.format.parsing import yaml_document

STEP = fields.mapping(
    {
        "id": fields.name("step"), "timeout": fields.duration, "access": fields.choice(["read", "write"]),
        "tries": fields.number(0, 9), "most": fields.number(1), "labels": fields.list_of(fields.word), "note": fields.line,
        "again": fields.flag, "env": fields.mapping_of(fields.word, fields.text), "words": fields.list_of(fields.text, 1, True),
        "hint": fields.expression,
    },
    required=["id"],
    such="with an id",
)  # fmt: skip
STEPS = fields.mapping({"steps": fields.list_of(STEP, 1, repeats=True, item="a step")})


def checked(step: str) -> Any:
    """The one step of a file whose second line says ``step``."""
    return fields.placed("the file", *_document(f"steps:\n- {step}\n"))["steps"][0]


def _document(text: str) -> tuple[Any, fields.Check, Any]:
    top, start = yaml_document(text, "f.yaml")
    return top, STEPS, start


def test_what_fits_is_kept() -> None:
    """Each kind as the caller keeps it."""
    said = checked(
        "{id: a, timeout: 2h, access: read, tries: 0, most: 5000, labels: [x, y], note: hm, again: true,"
        " env: {A: b}, words: [a, a], hint: ^x}"
    )
    assert said.pop("hint").match("xy")
    assert said == {
        "id": "a", "timeout": 7200, "access": "read", "tries": 0, "most": 5000, "labels": ("x", "y"), "note": "hm",
        "again": True, "env": {"A": "b"}, "words": ("a", "a"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("hm", "2:3: a step must be a mapping with an id, not 'hm'"),
        ("{note: x}", "2:3: id is missing"),
        ("{id: a, acces: read}", "2:11: unknown key 'acces'; did you mean access"),
        ("{id: a, zzz: read}", "2:11: unknown key 'zzz'; known: id, timeout, access"),
        ("{id: A}", "2:8: id: step name 'A': use a-z 0-9"),
        ("{id: a, timeout: 0}", "2:20: timeout must be a duration such as 90s, 15m, 2h or 30d, more than 0, not '0'"),
        ("{id: a, timeout: true}", "2:20: timeout must be a duration such as 90s, 15m, 2h or 30d, not 'true'"),
        ("{id: a, access: reed}", "2:19: access must be read or write, not 'reed'; did you mean read?"),
        ("{id: a, access: [read]}", "2:19: access must be read or write, not a list"),
        ("{id: a, tries: 10}", "2:18: tries must be a number from 0 to 9, not 10"),
        ("{id: a, most: 0}", "2:17: most must be a whole number, at least 1, not 0"),
        ("{id: a, most: true}", "2:17: most must be a whole number, at least 1, not true"),
        ("{id: a, labels: x}", "2:19: labels must be a list such as [a, b], not 'x'"),
        ("{id: a, labels: [x, y, x]}", "2:26: labels has 'x' twice"),
        ("{id: a, labels: [x, 1]}", "2:23: labels must be text, not 1: write it in quotes"),
        ("{id: a, words: []}", "2:18: words must be a list such as [a, b], not empty"),
        ("{id: a, note: \"x\\ny\"}", "2:17: note contains a line break"),
        ("{id: a, again: 1}", "2:18: again must be true or false, not 1"),
        ("{id: a, env: {A: 1}}", "2:20: A must be text, not 1: write it in quotes"),
        ("{id: a, env: {A b: c}}", "2:17: env 'A b' is not one word"),
        ("{id: a, hint: '('}", "2:17: hint must be a regular expression, not '(': "),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_place(step: str, said: str) -> None:
    """File, line and column of the value itself, or of the key that is unknown; then field, what is right, what is there."""
    with pytest.raises(Usage) as error:
        checked(step)
    assert str(error.value).startswith(f"f.yaml:{said}")


def test_values_without_places_are_checked_as_well() -> None:
    """What comes from JSON knows no place; the message is the same without it."""
    with pytest.raises(fields.Misfit, match=r"^A must be text, not 1: write it in quotes$") as error:
        STEPS("the file", {"steps": [{"id": "a", "env": {"A": 1}}]})
    assert error.value.place is None


def test_a_payload_comes_back_plain() -> None:
    """Documents are made of plain dicts and lists; where something stood in a file stays there."""
    top, _ = yaml_document("a: [{b: 1}]", "f.yaml")
    plain = fields.payload("payload", top)
    assert plain == top
    assert (type(plain), type(plain["a"]), type(plain["a"][0])) == (dict, list, dict)

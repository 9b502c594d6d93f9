"""Templates: what is put in, and that nothing of Python, and no bomb, gets in."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbox.errors import Usage
from mbox.workflow import templates
from mbox.workflow.expressions import Mistake
from mbox.workflow.templates import ITEM, LONGEST, parse, render, value

NAMES: dict[str, Any] = {
    "inputs": {"goal": "mend {{ 7 * 7 }}", "items": [1, 2], "none": None, "keys": "k", "class": "c"},
    "output": {"list": [{"a": 1, "b": "x"}, {"a": None, "b": "y"}], "flag": True, "items": "field"},
    "steps": {"one": {"output": {"text": "é\n"}, "visits": 2}}, "git": {"changed": ["a", "b"]}, "visits": 3, "failure": None,
}  # fmt: skip


def put(text: str) -> str:
    """What a text becomes."""
    return render(parse(text), NAMES)


MEANINGS = [
    ("plain { } % # }} text\n", "plain { } % # }} text\n"), ("a\n", "a\n"), ("{{ inputs.goal }}", "mend {{ 7 * 7 }}"),
    ("{{ visits }} {{ output.flag }} {{ inputs.none }}", "3 true null"), ("{{ inputs.items }}", "[1, 2]"),
    ("{{ output.list[0] }}", '{"a": 1, "b": "x"}'), ("{{ output.list[7] }}", "null"), ("{{ inputs['goal'] }}",
     "mend {{ 7 * 7 }}"),
    # keys before methods, and never a method
    ("{{ output.items }}", "field"), ("{{ inputs.keys }}", "k"), ("{{ inputs.class }}", "c"),
    ("{{ steps.one.output.text }}|", "é\n|"), ("{% if steps.one %}1{% endif %}{% if steps.two %}2{% endif %}", "1"),
    ("{% if not steps.two %}none{% endif %}", "none"), ("{{ 'x' if failure else 'y' }}", "y"),
    ("{% for one in output.list %}{{ loop.index }}{{ one.b }}{% if not loop.last %},{% endif %}{% endfor %}", "1x,2y"),
    ("{% for one in output.list if one.a %}{{ one.b }}{% else %}-{% endfor %}", "x"),
     ("{% for x in inputs.none %}{{ x }}{% endfor %}|", "|"),
    ("{{ git.changed | join(', ') }}", "a, b"), ("{{ inputs.items | join }}", "12"), ("{{ inputs.none | join }}", ""),
    ("{{ output.list | map(attribute='a') | join('/') }}", "1/null"), ("{{ output.list | length }}", "2"),
    ("{{ inputs.none | length }}", "0"), ("{{ inputs.goal | length }}", "16"), ("{{ inputs.none | default('d') }}", "d"),
    ("{{ inputs.gone | default('d') }}", "d"), ("{{ output.flag | default('d') }}", "true"),
    ("{{ output.list | tojson }}", '[{"a": 1, "b": "x"}, {"a": null, "b": "y"}]'), ("{{ '<é>' | tojson }}", '"<é>"'),
    # comparisons mean what they do in expressions, and never fail
    ("{% if visits > 2 %}y{% endif %}{% if inputs.none < 1 %}n{% endif %}{% if 'a' < 1 %}n{% endif %}", "y"),
    ("{% if output.flag == 1 %}n{% else %}y{% endif %}", "y"), ("{% if 1 in inputs.items and 'a' in git.changed %}y{% endif %}",
     "y"),
    ("{% raw %}{{ x }}{% endraw %}{# gone #}", "{{ x }}"), ("{{ failure is none }}{{ inputs.gone is defined }}", "truefalse"),
    ("a\n{%- if true %}\n b{% endif %}", "a\n b"), ("{{ 1.5 }}{{ 'x' }}{{ [1, 'a'] }}", '1.5x[1, "a"]'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), MEANINGS)
def test_what_is_put_in(text: str, wanted: str) -> None:
    """Texts as they are, all else as JSON; loops, conditions, the five filters."""
    assert put(text) == wanted


REFUSED = [
    "{{ inputs.goal.upper() }}", "{{ range(3) }}", "{{ ''.join('a') }}", "{{ inputs.__class__ }}", "{{ ''.__class__.__mro__ }}",
    "{{ _x }}", "{{ 'a' * 10**9 }}", "{{ 'a' + 'b' }}", "{{ 1 - 1 }}", "{{ 'a' ~ 'b' }}", "{{ '%s' % 1 }}", "{{ -visits }}",
    "{% set x = 1 %}", "{% set x %}a{% endset %}", "{% macro m() %}{% endmacro %}", "{% call f() %}{% endcall %}",
    "{% include 'x' %}",
    "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}", "{% block b %}{% endblock %}",
    "{% with a = 1 %}{% endwith %}",
    "{% filter upper %}a{% endfilter %}", "{% autoescape true %}{% endautoescape %}", "{% do x %}",
    "{% for x in range(9) %}{% endfor %}",
    "{% for x in inputs.items recursive %}{% endfor %}", "{% for a, b in inputs.items %}{% endfor %}", "{{ {'a': 1} }}",
    "{{ ('a', 1) }}",
    "{% for inputs in output.list %}{% endfor %}", "{% for loop in output.list %}{% endfor %}", "{{ inputs.items[0:1] }}",
    "{{ inputs.items[-1] }}", "{{ inputs[visits] }}", "{{ inputs.goal | upper }}", "{{ inputs.goal | format(1) }}",
    "{{ inputs.goal | map('upper') }}", "{{ inputs.items | map(attribute='a', default=1) }}",
    "{{ inputs.items | join('a', 'b') }}",
    "{{ inputs.items | join(attribute='a') }}", "{{ inputs.none | default }}", "{{ inputs.goal | tojson(indent=2) }}",
    "{{ 'abc' | join }}", "{% for x in 'abc' %}{% endfor %}", "{{ inputs.goal | tojson | join }}", "{{ x is callable }}",
    "{{ x is divisibleby 3 }}",
    "{{ 1 < 2 < 3 }}", "{{ 1 if visits }}", "{{", "{{ }}", "{% if %}", "{% endif %}", "{% if x %}", "{{ a b }}", "{{ 'a }}",
    "{% nope %}",
    "{{ inputs. }}", "{# open", "{{ (" + "(" * 300, "{{ " + "not " * 500 + "x }}", "{% if x %}" * 17 + "{% endif %}" * 17,
    "{% for x in inputs.items %}" * 30 + "{% endfor %}" * 30, "a" * (LONGEST + 1), "{{ a" + ".b" * 500 + " }}",
    "{% for x in inputs.items %}{{ loop.cycle }}{% endfor %}", "{% for x in inputs.items %}{{ loop }}{% endfor %}",
    "{% for x in inputs.items %}{{ loop['index'] }}{% endfor %}", "{{ (visits | default(inputs)).x }}", "{{ 'a'.x }}",
    "{{ [1][0] }}",
    "{% for x in ['a'] %}{{ x.y }}{% endfor %}", "{{ inputs.items | map(attribute='_x') }}", "{{ (a if b else c).d }}",
    "{{ inputs.items | map(attribute=visits) }}", "{% for x in (1, 2) %}{% endfor %}",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    """What is not in the list does not parse, in one line that says where."""
    began = time.process_time()
    with pytest.raises(Mistake) as told:
        parse(text)
    assert "\n" not in str(told.value) and told.value.line == 1 and time.process_time() - began < 2


@pytest.mark.parametrize(
    ("text", "says"),
    [("{{ steps.two.output }}", "output is not there"), ("{{ nope }}", "nope"), ("{{ inputs.nope }}", "nope"),
    ("\n\n{{ inputs.x }}", "line 3"),
     ("{{ inputs.goal.upper }}", "upper"), ("{{ inputs.goal.format }}", "format"), ("{{ git.changed.append }}", "append"),
      ("{{ self }}", ""),
     ("{% for x in inputs.goal %}{% endfor %}", "a list"), ("{{ inputs.goal | join }}", "a list"), ("{{ visits | length }}",
      "a list"),
     ("{{ loop }}", "loop"), ("{{ caller }}", "caller"),
     ("{{ inputs.none.deeper }}", "deeper")],
)  # fmt: skip
def test_what_is_not_there(text: str, says: str) -> None:
    """What a template reads and is not there, or no list, ends the rendering in a line; no object of Python is met."""
    with pytest.raises(Usage) as told:
        put(text)
    assert says in str(told.value) and "\n" not in str(told.value)


BOMBS = [
    "{% for a in output %}{% for b in output %}{% for c in output %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in output %}{{ output | tojson }}{% endfor %}",
    "{% for a in output %}{% if (output | tojson) == 'x' %}{% endif %}{% endfor %}",
    "{% for a in output %}{% if output | join == 'x' %}{% endif %}{% endfor %}", "{% for a in output %}{{ output }}{% endfor %}",
    "{% for a in output %}{% for b in output %}{{ b }}{% endfor %}{% endfor %}",
    "{% for a in output %}{% for b in output if b == a and false %}{% endfor %}{% endfor %}",
    "{% for a in output %}{% if output | map(attribute='x') | length %}{% endif %}{% endfor %}",
]  # fmt: skip


@pytest.mark.parametrize("text", BOMBS)
def test_what_it_costs_is_bounded(text: str) -> None:
    """Loops in loops, and filters in them, over as much as an output may have: an end, in seconds, within tens of megabytes."""
    found = parse(text)
    many = [f"{number:04}" for number in range(8000)]
    if "map" in text:
        many = [{"x": 1}] * 8000  # type: ignore[list-item]
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(Usage, match="too much"):
        render(found, {"output": many})
    assert time.process_time() - began < 20 and tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_what_was_put_in_is_no_template() -> None:
    """Once, and never again: also by way of a rendering of a rendering."""
    names = {"output": "{{ inputs.secret }}{% raw %}", "inputs": {"secret": "s"}}
    once = render(parse("{{ output }}"), names)
    assert once == "{{ inputs.secret }}{% raw %}"
    assert value(parse("{{ output }}"), names) == once


def test_one_value_alone_is_the_value() -> None:
    """``{{ … }}`` and nothing else passes the value; with anything beside it, its text."""
    for text, wanted in (("{{ inputs.items }}", [1, 2]), ("{{ output.flag }}", True), ("{{ inputs.none }}", None),
    ("{{ visits }}", 3),
                         ("{{ inputs.items }} ", "[1, 2] "), (" {{ visits }}", " 3"), ("{{ visits }}{{ visits }}", "33"),
                          ("plain", "plain"),
                         ("{{ inputs.items | length }}", 2), ("{{ 'a' }}", "a"), ("{{ inputs.none | default(7) }}",
                          7)):  # fmt: skip
        found = value(parse(text), NAMES)
        assert found == wanted and type(found) is type(wanted), text
    assert value(parse("{{ inputs.items }}"), NAMES) is NAMES["inputs"]["items"]


def test_what_a_template_reads() -> None:
    """Each path, with the names of loops followed, what is certain there, and what must be a list."""
    text = "{% if steps.a.ok and inputs.x %}{{ steps.a.b }}{% else %}{{ git }}{% endif %}\n"
    text += "{% for f in output.l %}{{ f.s }}{% endfor %}"
    found = {read.path: read for read in parse(text).reads}
    assert found["steps", "a", "b"].certain >= {("steps",), ("steps", "a"), ("steps", "a", "ok"), ("inputs", "x")}
    assert found["git",].certain == frozenset() and found["output", "l"].use == "list"
    inner = found["output", "l", ITEM, "s"]
    assert inner.line == 2 and inner.said() == "f.s"
    assert parse(text).names == ("steps.a.ok", "inputs.x", "steps.a.b", "git", "output.l", "output.l[].s")


@pytest.mark.parametrize(
    ("test", "certain"),
    [("steps.a", True), ("steps.a.b", True), ("not steps.a", False), ("steps.a or visits", False), ("steps.a == 1", True),
     ("steps.a == none", False), ("steps.a is none", False), ("not steps.a is none", True), ("steps.a != 1", False),
     ("steps.a and visits", True), ("not (not steps.a)", True), ("not (not steps.a or visits)", True), ("visits and steps.a.b",
      True)],
)  # fmt: skip
def test_what_a_condition_makes_certain(test: str, certain: bool) -> None:
    """A path that must be there for a condition to hold is certain below it; behind ``else`` it is not."""
    reads = parse("{% if " + test + " %}{{ steps.a.c }}{% else %}{{ steps.a.d }}{% endif %}").reads
    yes = next(read for read in reads if read.path[-1] == "c")
    no = next(read for read in reads if read.path[-1] == "d")
    assert (("steps", "a") in yes.certain) is certain
    assert (("steps", "a") in no.certain) is (test in ("steps.a is none", "not steps.a"))


def test_the_same_text_is_the_same_template() -> None:
    """Templates are plain values, equal if their texts are."""
    assert parse("a {{ visits }}") == parse("a {{ visits }}") != parse("b {{ visits }}")
    assert parse("plain").is_plain and not parse("{{ visits }}").is_plain and parse("{{ '{{' }}").is_value


PIECES = st.sampled_from(["{{", "}}", "{%", "%}", "{#", "#}", " if ", " for x in ", "endif", "endfor", "inputs", ".goal", "[0]",
"x", "|",
                          "join", "tojson", "'", '"', "(", ")", " else ", "loop", "a", "\n", "-", "raw", " not ", "==", "é",
                          "\\", "*", "~"])  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60))
def test_no_text_raises_anything_else(text: str) -> None:
    """Garbage is a mistake or a template; a template has a text or ends in a line."""
    try:
        found = parse(text)
    except Mistake as error:
        assert 1 <= error.line <= text.count("\n") + 1
        return
    try:
        assert isinstance(render(found, NAMES), str)
    except Usage as error:
        assert "\n" not in str(error)
    assert templates.dotted(("a", 0, "b")) == "a[0].b"

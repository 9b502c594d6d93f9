"""Surgery on JSON: our entries come into a person's text and out of it, and nothing else changes; on any document."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mbox.errors import Usage
from mbox.hooks import edits, entries, installing
from mbox.hooks.entries import PLACES, HostFile

JSONS = [place for place in PLACES.values() if not place.whole]
LENIENT = [place for place in JSONS if place.comments]
STRICT = [place for place in JSONS if not place.comments]

each = pytest.mark.parametrize("place", JSONS, ids=lambda place: place.host)
each_lenient = pytest.mark.parametrize("place", LENIENT, ids=lambda place: place.host)
each_strict = pytest.mark.parametrize("place", STRICT, ids=lambda place: place.host)


def put(place: HostFile, text: str) -> str:
    """``text`` with our entries."""
    return installing.with_entries(place, text, "file")


def out(place: HostFile, text: str) -> str:
    """``text`` without our entries."""
    return edits.taken_out(text, entries.is_ours, place.comments)


def read(text: str) -> Any:
    """What a text with comments says, by a reader that shares nothing with the one that is tested."""
    strings = r'"(?:[^"\\]|\\.)*"'
    bare = re.sub(rf"({strings})|//[^\n]*|/\*.*?\*/", lambda found: found[1] or " ", text.removeprefix("\ufeff"), flags=re.S)
    return json.loads(bare)


def expected(place: HostFile, doc: Any) -> Any:
    """A document with our entries last in each list."""
    made = json.loads(json.dumps(doc))
    for event, entry in place.events:
        at = made
        for key in place.keys:
            at = at.setdefault(key, {})
        at.setdefault(event, []).append(copy.deepcopy(entry))
    return made


def theirs(place: HostFile, name: str = "theirs") -> Any:
    """A person's entry, as the host wants it."""
    handler: dict[str, Any] = {"type": "command", "command": f"./{name}.sh"}
    if place.host == "copilot":
        return {"type": "command", "bash": f"./{name}.sh"}
    return {"hooks": [handler]} if place.host in ("claude", "codex", "gemini", "qwen") else handler


def nested(place: HostFile, lists: Any) -> Any:
    """A document with lists of events."""
    made = lists
    for key in reversed(place.keys):
        made = {key: made}
    return made


def at_events(place: HostFile, doc: Any) -> Any:
    """The lists of events in a document."""
    for key in place.keys:
        doc = doc[key]
    return doc


def samples(place: HostFile) -> dict[str, str]:
    """What a person may have."""
    first, last = place.events[0][0], place.events[-1][0]
    full = {"model": "x", **nested(place, {last: [theirs(place)], "Other": [theirs(place)], first: []}), "z": [1, {}]}
    empty_list = nested(place, {first: []})
    tabs = json.dumps(full, indent="\t")
    key = place.keys[0]
    return {
        "empty": "{}", "empty, blank": "{ }", "empty, lines": "{\n\n}\n", "empty, end": "{}\n", "empty, behind blanks": " \n {}",
        "one line": json.dumps(full), "one line, end": json.dumps(full) + "\n", "tight": json.dumps(full, separators=(",", ":")),
        "two": json.dumps(full, indent=2) + "\n", "four": json.dumps(full, indent=4), "tabs": tabs,
        "CRLF": tabs.replace("\n", "\r\n") + "\r\n", "CRLF, two": json.dumps(full, indent=2).replace("\n", "\r\n"),
        "mixed": json.dumps(full, indent=2).replace("\n", "\r\n", 3), "CR": json.dumps(full, indent=1).replace("\n", "\r"),
        "flat": json.dumps(full, indent=0), "spread": json.dumps(full, indent=2).replace("\n", "\n\n").replace(",", " ,"),
        "empty list": json.dumps(empty_list, indent=2), "empty list, one line": json.dumps(empty_list),
        "empty list, lines": json.dumps(empty_list, indent=2).replace("[]", "[\n\n    ]"),
        "empty list, blank": json.dumps(empty_list).replace("[]", "[ ]"), "no events": f'{{"{key}": {{}}}}',
        "no events, blank": f'{{"{key}": {{ }}}}', "no events, lines": f'{{\n  "{key}": {{\n  }}\n}}\n',
        "letters": json.dumps({"ü": "\u2028 \u0085é\x7f", **full}, ensure_ascii=False, indent=2),
        "escapes": json.dumps({"ü": "😀\ud800"}),
        "looks alike": json.dumps({"a": "{[//,]} /* \"hooks\": ", **full}, indent=3),
        "deep": '{"a": ' + "[" * 150 + "]" * 150 + "}",
    }  # fmt: skip


def commented(place: HostFile) -> dict[str, str]:
    """What a person may have where comments are read."""
    key, first, last = place.keys[0], place.events[0][0], place.events[-1][0]
    one = json.dumps(theirs(place))
    return {
        "before and behind": '// one\n/* two */ {"a": 1} // three\n/* four */',
        "in the empty": "{ // nothing yet\n}\n", "in the empty, own line": "{\n  // nothing yet\n}\n", "only block": "{/* x */}",
        "behind the last": '{\n  "a": 1, // of a\n  "b": 2 // of b  \n}\n', "behind the only": '{"a": 1 // of a\n}',
        "blocks": '{"a": 1 /* of a */ /* more */ , /* b */ "b" /* c */ : /* d */ 2 /* of b */ }',
        "own line at the end": '{\n  "a": 1\n  // the end\n}\n', "block over lines": '{\n  "a": 1 /* of\n  a */\n}\n',
        "CRLF": '{\r\n\t"a": 1, // a\r\n\t"b": 2 // of b\r\n}\r\n',
        "with a comma": '{\n  "a": 1, // , "b": 2,\n  "c": 3 /* , */ // ,\n}',
        "no line at the end": '{"a": 1} // end', "events": f'{{"{key}": {{ // ours\n}}}}',
        "lists": f'{{\n  "{key}": {{\n    "{first}": [ // none\n    ],\n    "{last}": '
                 f'[\n      {one}, // this\n      {one} // that\n    ]\n  }}\n}}\n',
    }  # fmt: skip


# -- in and out again --------------------------------------------------------------------------------------------------


@each
def test_in_and_out_again_is_as_before(place: HostFile) -> None:
    """However a person's file is laid out: ours are last in each list, twice is once, and out again it is the same."""
    for name, text in samples(place).items():
        there = put(place, text)
        assert read(there) == expected(place, read(text)), name
        assert put(place, there) == there, name
        assert out(place, there) == text, name


@each_lenient
def test_comments_stay(place: HostFile) -> None:
    """So it is where there are comments; each stays as it is, in its order."""
    for name, text in commented(place).items():
        there = put(place, text)
        assert read(there) == expected(place, read(text)), name
        assert put(place, there) == there, name
        assert out(place, there) == text, name


@each_lenient
def test_a_comment_stays_with_what_it_is_about(place: HostFile) -> None:
    """A comment behind the last item stays on that item's line; ours come on the next."""
    assert put(place, '{\n  "a": 1 // of a\n}\n').startswith('{\n  "a": 1, // of a\n  "hooks": {\n')


@each
def test_what_is_put_in_looks_like_the_rest(place: HostFile) -> None:
    """Indented as the file is: by tabs, by four, or on one line; with its line ends."""
    for unit in ("\t", "    ", "  "):
        full = {"a": {"b": 1}, **nested(place, {"Other": [theirs(place)]})}
        assert put(place, json.dumps(full, indent=unit)) == json.dumps(expected(place, full), indent=unit)
    assert put(place, '{"a": 1}') == json.dumps(expected(place, {"a": 1}))
    crlf = put(place, '{\r\n  "a": 1\r\n}\r\n')
    assert crlf.count("\n") == crlf.count("\r\n") > 20


@each
def test_ours_that_are_there_stay_where_they_are(place: HostFile) -> None:
    """What a person puts behind ours stays behind; of what is missing only that is put in."""
    doc = expected(place, {})
    first, last = place.events[0][0], place.events[-1][0]
    at_events(place, doc)[first].append(theirs(place))
    text = json.dumps(doc, indent=2)
    assert put(place, text) == text
    del at_events(place, doc)[last]
    assert read(put(place, json.dumps(doc))) == read(text)


# -- changed by hand in between ----------------------------------------------------------------------------------------

BASES = {"none": {}, "theirs": {"model": "x"}}


def changed(place: HostFile, kind: str, doc: Any) -> Any:
    """A document as a person has changed it by hand; in place."""
    events = at_events(place, doc)
    name = place.events[-1][0]
    if kind == "before":
        events[name].insert(0, theirs(place))
    elif kind == "behind":
        events[name].append(theirs(place))
    elif kind == "both":
        events[name] = [theirs(place, "one"), *events[name], theirs(place, "two")]
    elif kind == "key":
        doc["zebra"] = {"x": [1, 2]}
    elif kind == "event":
        events["Another"] = [theirs(place)]
    return doc


@each
@pytest.mark.parametrize("kind", ["before", "behind", "both", "key", "event"])
@pytest.mark.parametrize("base", BASES)
def test_a_person_s_changes_stay(place: HostFile, kind: str, base: str) -> None:
    """A hook of theirs before or behind ours, another key or event: out again, exactly what they would have without ours."""
    start = BASES[base]
    mine = json.dumps(changed(place, kind, expected(place, start)), indent=2) + "\n"
    bare = json.loads(mine)
    for name, entry in place.events:
        at_events(place, bare)[name].remove(entry)
        if not at_events(place, bare)[name]:
            del at_events(place, bare)[name]
    if not at_events(place, bare):
        del bare[place.keys[0]]
    assert out(place, mine) == json.dumps(bare, indent=2) + "\n"


@each
def test_reformatted_by_a_program(place: HostFile) -> None:
    """All of it laid out anew, in any way: out again, what is theirs."""
    doc = {"model": "x", **nested(place, {place.events[0][0]: [theirs(place)]}), "z": 1}
    for indent in (None, 0, 1, 4, "\t"):
        for tight in ((",", ":"), (", ", ": ")):
            assert read(out(place, json.dumps(read(put(place, json.dumps(doc))), indent=indent, separators=tight))) == doc
    assert read(out(place, json.dumps(expected(place, {}), indent=4))) == {}


@each
def test_a_changed_entry_is_ours_all_the_same(place: HostFile) -> None:
    """With another matcher, another time limit, a key more: it goes; nothing else does."""
    text = json.dumps({"a": 1, **expected(place, {})}, indent=2)
    changes = {r'"matcher": "[^"]*"': '"matcher": "Write|Edit"', r'("timeout(?:Sec)?"): \d+': r'\1: 99, "x": {"y": []}'}
    for old, new in changes.items():
        assert out(place, re.sub(old, new, text)) == '{\n  "a": 1\n}'


@pytest.mark.parametrize("place", [PLACES[host] for host in ("claude", "codex", "gemini", "qwen")], ids=lambda place: place.host)
def test_a_hook_of_theirs_in_our_group_stays(place: HostFile) -> None:
    """Beside ours, in the group that was made for ours: the group stays with theirs in it, wherever it stands."""
    name, handler = place.events[2][0], {"type": "command", "command": "./theirs.sh"}
    for at in (0, 1):
        doc = expected(place, {})
        doc["hooks"][name][0]["hooks"].insert(at, handler)
        kept = {**place.events[2][1], "hooks": [handler]}
        assert out(place, json.dumps(doc, indent=2)) == json.dumps({"hooks": {name: [kept]}}, indent=2)


@each_lenient
def test_a_person_s_comments_between_stay(place: HostFile) -> None:
    """Comments before, behind and between ours, and one that a line's end must end: the text stays one that is read."""
    text = put(place, '{\n  "a": 1\n}\n').replace('"a": 1,\n', '"a": 1, // of a\n  // of hooks\n')
    assert out(place, text) == '{\n  "a": 1 // of a\n  // of hooks\n}\n'
    text = put(place, "{\n}\n").replace("{\n", "{ // all\n", 1).replace("  }\n}", '  }, // of hooks\n  "b": 2\n}')
    assert read(out(place, text)) == {"b": 2} and "// all" in out(place, text)
    one = theirs(place)
    event = place.events[0][0]
    line = json.dumps(place.events[0][1])
    for inside in (f"// x\n{line}", f"{line} // x\n", f"/* x */ {line} /* y */", f"// x\n{line}, {json.dumps(one)}"):
        left = out(place, f'{{"hooks": {{"{event}": [{inside}]}}}}')
        assert read(left) == {"hooks": {event: [one] if json.dumps(one) in inside else []}} and "x" in left
    left = out(place, f'{{"hooks": {{"{event}": [{json.dumps(one)}, // x\n{line}]}}, "b": 1}}')
    assert read(left) == {"hooks": {event: [one]}, "b": 1} and "// x" in left


@each
def test_what_only_names_the_launcher_is_not_ours(place: HostFile) -> None:
    """A log beside it, a permission, a variable: they stay; a hook that calls ours and more is ours."""
    doc = {"env": {"X": "$HOME/.local/share/mbox/hook"}, "permissions": {"allow": ["Bash(~/.local/share/mbox/hook:*)"]},
           **nested(place, {place.events[0][0]: [{"command": "cat ~/.local/share/mbox/hook.log"}]})}  # fmt: skip
    text = json.dumps(doc, indent=2)
    assert out(place, text) == text
    assert out(place, put(place, text)) == text
    wrapped = json.dumps(nested(place, {"Stop": [{"command": f"date >>log; {entries.line(place.host, 'Stop')}"}], "B": [1]}))
    assert read(out(place, wrapped)) == nested(place, {"B": [1]})


# -- what is refused ---------------------------------------------------------------------------------------------------

WRONG = {
    "": "1:1: the text ends", "\n\n": "3:1: the text ends", "[]": "1:1: not an object", '"x"': "1:1: not an object",
    "{": "1:2: the text ends too early", '{"a"}': "1:5: no :", '{"a": }': "1:7: no JSON", "{a: 1}": "1:2: no JSON",
    '{"a": 1 "b": 2}': "1:9: neither", '{"a": 1}\nx': "2:1: something follows", '{"a": \'x\'}': "1:7: no JSON",
    '{"a": 1,\n "b": 2,\n "a": 3}': "3:2: the key 'a' is there twice", '{"a": {"": 1, "": 2}}': "1:15: the key '' is there twice",
    "{1: 2}": "1:2: no key", '{"a": NaN}': "1:7: no JSON", '{"a": -Infinity}': "1:7: no JSON", '{"a": "\t"}': "1:7: no JSON",
    '{"a": 01}': "1:8: neither", '{"a": [1, 2,]}': "1:12: a comma behind", '{"a": 1,\n}': "1:8: a comma behind",
    '{,}': "1:2: no JSON", '{"a": [' + "[" * 300: "nested too deep", '{"a": "x\\q"}': "1:7: no JSON",
    "{}{}": "1:3: something follows",
    '{"a": 1,': "1:9: the text ends too early", '{"a": 9' + "9" * 5000 + "}": "1:7: no JSON",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:12] or "nothing")
def test_what_no_program_reads_is_refused(text: str) -> None:
    """With file, line and column, exit status 2."""
    for place in JSONS:
        with pytest.raises(Usage, match=re.escape(WRONG[text])) as caught:
            put(place, text)
        assert str(caught.value).startswith("file:") and caught.value.exit == 2


@each_strict
def test_comments_are_refused_where_the_program_does_not_read_them(place: HostFile) -> None:
    """Claude Code drops all settings at a `//`: the place of the first one is named."""
    for text, at in (("// x\n{}", "1:1"), ('{\n  "a": 1 /* x */\n}', "2:10"), ('{"a": 1}\n\n // x', "3:2")):
        with pytest.raises(Usage, match=f"^file:{at}: a comment"):
            put(place, text)


@each_lenient
def test_a_comment_without_an_end_is_refused(place: HostFile) -> None:
    """A block that goes on to the end of the text."""
    with pytest.raises(Usage, match=r"^file:1:4: a comment that does not end"):
        put(place, "{} /* x")


@each
def test_a_byte_order_mark(place: HostFile) -> None:
    """It stays where the program was seen to read it, and is refused where all of the file is lost by it."""
    text = '\ufeff{"a": 1}'
    if place.host in ("claude", "qwen"):
        assert out(place, put(place, text)) == text and read(put(place, text)) == expected(place, {"a": 1})
    else:
        with pytest.raises(Usage, match=r"^file:1:1: a byte order mark"):
            put(place, text)


@each
def test_wrong_types_are_refused(place: HostFile) -> None:
    """Where a list or an object must be, something else is: told with its place."""
    event, key = place.events[1][0], place.keys[0]
    for wrong in ("[]", "1", "null", '"x"'):
        with pytest.raises(Usage, match=f"^file:2:{len(key) + 5}: {key} is not an object"):
            put(place, f'{{\n"{key}": {wrong}}}')
    for wrong in ("{}", "1", "null", '"x"'):
        with pytest.raises(Usage, match=f"^file:1:{len(event) + len(key) + 11}: {key}.{event} is not a list"):
            put(place, f'{{"{key}": {{"{event}": {wrong}}}}}')


# -- any document ------------------------------------------------------------------------------------------------------

TRAPS = st.sampled_from(["hooks", "//", "/*", "*/", "{", "],", '"', "\\", "command"])
WORDS = st.text(st.characters(codec="utf-8"), max_size=6) | TRAPS
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
VALUES = st.recursive(SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(WORDS, one, max_size=3), max_leaves=8)
BLANKS = st.text(st.sampled_from(" \t\n\r"), max_size=3) | st.sampled_from(["\r\n", "\n  ", "\n    ", "\n\t"])
INDENTS = st.sampled_from([None, 0, 2, 4, "\t"])
COMMENTS = st.sampled_from(["// c\n", "//\n", "/* c */", "/*\n*/", "// { , \"\n", "/* // */", "// /* \r\n"])


@st.composite
def documents(draw: st.DrawFn, place: HostFile) -> Any:
    """An object with anything in it, and hooks."""
    names = [event for event, _ in place.events]
    entry = st.just(theirs(place)) | VALUES
    doc = draw(st.dictionaries(WORDS.filter(lambda word: word not in place.keys), VALUES, max_size=3))
    if draw(st.booleans()):
        lists = draw(st.dictionaries(st.sampled_from([*names, "Other"]), st.lists(entry, max_size=2), max_size=4))
        doc |= nested(place, lists)
        doc |= draw(st.dictionaries(WORDS.filter(lambda word: word not in doc), VALUES, max_size=2))
    return doc


def spelt(draw: st.DrawFn, value: Any, gap: st.SearchStrategy[str]) -> str:
    """A value as text, with anything between its tokens that may be there."""
    if isinstance(value, dict):
        parts = [f"{spelt(draw, key, st.just(''))}{draw(gap)}:{draw(gap)}{spelt(draw, item, gap)}" for key, item in value.items()]
    elif isinstance(value, list):
        parts = [spelt(draw, item, gap) for item in value]
    else:
        return json.dumps(value, ensure_ascii=draw(st.booleans()))
    inside = ",".join(f"{draw(gap)}{part}{draw(gap)}" for part in parts) or draw(gap)
    return f"{{{inside}}}" if isinstance(value, dict) else f"[{inside}]"


@st.composite
def texts(draw: st.DrawFn, place: HostFile) -> str:
    """A document as a text: as a program lays it out, or as nobody would."""
    doc = draw(documents(place))
    if draw(st.booleans()):
        indent = draw(st.sampled_from([None, 0, 1, 2, 4, "\t", " \t"]))
        text = json.dumps(doc, indent=indent, ensure_ascii=draw(st.booleans()))
        return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"]))) + draw(st.sampled_from(["", "\n", "\r\n"]))
    gap = st.lists(BLANKS | COMMENTS, max_size=2).map("".join) if place.comments else BLANKS
    return f"{draw(gap)}{spelt(draw, doc, gap)}{draw(gap)}"


@given(st.sampled_from(JSONS).flatmap(lambda place: st.tuples(st.just(place), texts(place))))
@example((PLACES["gemini"], '{ // c\n}'))
@example((PLACES["gemini"], '{"a":1// c\n}'))
@example((PLACES["gemini"], '{"hooks":{"SessionEnd":[[],{\r\t\n\t}],"SessionStart":[]}}'))
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_any_document_is_the_same_again(case: tuple[HostFile, str]) -> None:
    """Into any document and out of it: exactly ours come in, twice is once, out again every byte is as it was."""
    place, text = case
    there = put(place, text)
    assert read(there) == expected(place, read(text))
    assert put(place, there) == there
    assert out(place, there) == text


@given(st.sampled_from(JSONS).flatmap(lambda place: st.tuples(st.just(place), documents(place))), INDENTS)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_any_document_reformatted_loses_nothing(case: tuple[HostFile, Any], indent: Any) -> None:
    """In, reformatted, out: what is left says what it did before, but that empty lists of hooks may be gone."""
    place, doc = case
    left = read(out(place, json.dumps(expected(place, doc), indent=indent)))

    def full(doc: Any) -> Any:
        events = {name: items for name, items in doc.get(place.keys[0], {}).items() if items}
        return {**{key: value for key, value in doc.items() if key != place.keys[0]}, "events": events}

    assert full(left) == full(doc)


@given(st.sampled_from(JSONS).flatmap(lambda place: st.tuples(st.just(place), texts(place))), st.data())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_cut_anywhere_it_is_told(case: tuple[HostFile, str], data: st.DataObject) -> None:
    """A text cut off, or with a letter too many, is refused with line and column, or is what another reader reads."""
    place, text = case
    at = data.draw(st.integers(0, len(text)))
    for broken in (text[:at], text[:at] + data.draw(st.sampled_from(['"', ",", "}", "x", "[", "//", "\ufeff"])) + text[at:]):
        try:
            there = put(place, broken)
        except Usage as error:
            assert re.match(r"file:\d+:\d+: ", str(error))
        else:
            assert read(there) == expected(place, read(broken)) and out(place, there) == broken

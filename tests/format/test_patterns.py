"""Path patterns: meaning, refusals, and exact intersection against two oracles that share no code with it.

The oracles are the enumeration of all paths up to the length that a shortest common one can have, and the product
automaton, searched breadth first.  Patterns are generated together with their brace-free expansions, so the oracles
never see a brace.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations_with_replacement, product
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mbox.errors import Usage
from mbox.format import patterns
from mbox.format.globs import Effort
from mbox.format.patterns import MOST_ALTERNATIVES, contains, escape, has_wildcard, intersect, parse, witness

# --- what a pattern means

MATCHES = [
    ("*.py", "a.py", "src/a.py"),
    ("*.py", ".py", "a.pyc"),
    ("**/*.py", "a.py", "a.js"),
    ("**/*.py", "src/api/a.py", "src/a.py/b"),
    ("*", "a", "a/b"),
    ("*", ".hidden", ".hidden/x"),
    ("a*", "a", "b"),
    ("?", "é", "ab"),
    ("a?b", "a-b", "a/b"),
    ("src", "src", "src2"),
    ("src", "src/a/b.py", "lib/src"),
    ("src/*", "src/a", "src/a/b"),
    ("src/*", "src/.env", "src"),
    ("src/**", "src/a/b", "src"),
    ("src/**", "src/a", "src2/a"),
    ("**", "a", None),
    ("**", "a/b/.c", None),
    ("**/a", "a", "b"),
    ("**/a", "x/y/a", "x/ya"),
    ("**/a", "x/a/below", "x/b/below"),
    ("a/**/b", "a/b", "ab"),
    ("a/**/b", "a/x/y/b", "a/x/b2"),
    ("a/**/**", "a/x", "a"),
    ("a**b", "axxb", "ax/xb"),
    ("a/***", "a/x", "a/x/y"),
    ("[a-c]x", "bx", "dx"),
    ("[!a-c]x", "dx", "bx"),
    ("[!a]", "]", "a"),
    ("[]a]", "]", "b"),
    ("[!]a]", "b", "]"),
    ("[a-]", "-", "b"),
    ("[-a]", "-", "b"),
    ("[a!]", "!", "b"),
    (r"[\]\-z]", "-", "^"),
    ("[*?{,}]", ",", "a"),
    ("a[!x]b", "a-b", "a/b"),
    ("a[+-9]b", "a.b", "a/b"),
    ("{a,b}.py", "b.py", "c.py"),
    ("{a,b}", "a/below", "c/below"),
    ("x{,.bak}", "x", "x.ba"),
    ("x{,.bak}", "x.bak", "x."),
    ("{src,lib/{a,b}}/*.py", "lib/b/x.py", "lib/x.py"),
    ("{a,*.md}", "a/x", "b.md/x"),
    ("{a}", "a", "{a}"),
    ("{*,a}*", "x/y", None),
    ("a,b}", "a,b}", "a"),
    (r"\*\{\[\\", "*{[\\", "x{[y"),
    (r"a\b", "ab", r"a\b"),
    ("app/[id]/page.tsx", "app/i/page.tsx", "app/[id]/page.tsx"),
    (".*", ".git", "git"),
    ("…/ключ-?", "…/ключ-я", "…/ключ-"),
]


@pytest.mark.parametrize(("text", "inside", "outside"), MATCHES)
def test_matches(text: str, inside: str, outside: str | None) -> None:
    """Each row of the table: a path that the pattern matches and one that it does not."""
    assert parse(text).matches(inside)
    assert outside is None or not parse(text).matches(outside)


INVALID = [
    ("", "empty"),
    ("/etc/passwd", "relative"),
    ("a//b", "empty"),
    ("a/", "empty"),
    ("./a", "'.'"),
    ("a/../b", "'..'"),
    (r"a/\../b", "'..'"),
    ("{a,}/b", "relative"),
    ("a/{b,.}", "'.'"),
    ("{}", "empty"),
    ("a[bc", r"\["),
    ("a[]", r"\["),
    ("a[!]", r"\["),
    ("a[b/c]d", r"\["),
    (r"a[b\]", r"\["),
    ("[a-", r"\["),
    ("[z-a]", "backwards"),
    ("[^a]", "[!...]"),
    ("[[:alpha:]]", "named classes"),
    ("{a,b", r"\{"),
    ("{a,{b}", r"\{"),
    ("a\\", r"\\"),
    ("[a\\", r"\\"),
    ("a\0b", "NUL"),
    ("a" * 1025, "1024"),
    ("{a,b}" * 9, "alternatives"),
    ("{" + "a," * 256 + "b}", "alternatives"),
    ("{a,b\n", r"\{"),
]


@pytest.mark.parametrize(("text", "mend"), INVALID)
def test_refuses(text: str, mend: str) -> None:
    """What is no pattern is refused with one line that names the pattern and what is wrong with it."""
    with pytest.raises(Usage) as caught:
        parse(text)
    message = str(caught.value)
    assert mend in message
    assert message.isprintable()
    assert len(message) < 250


def test_as_many_alternatives_as_are_allowed() -> None:
    """The bound on alternatives is the last number that is allowed, and depth of nesting is none."""
    assert len(parse("{a,b}" * 8).alternatives) == MOST_ALTERNATIVES
    assert parse("{" * 400 + "a" + "}" * 400).matches("a")


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", ".", "./a", "a/.."])
def test_refuses_to_judge_what_is_no_path(path: str) -> None:
    """A path that is not in the root's own form is refused: a guard must not read False as free."""
    with pytest.raises(Usage, match="relative to the root"):
        parse("**").matches(path)


# --- prefix, whole, escape, has_wildcard

PREFIXES = [
    ("src/a.py", "src/a.py", True),
    ("src/*.py", "src", False),
    ("src/**", "src", True),
    ("src/**/*", "src", True),
    ("src/*", "src", False),
    ("src/*/**/*", "src", False),
    ("src/**/a", "src", False),
    ("**", "", True),
    ("**/*.py", "", False),
    ("*.py", "", False),
    (r"src/\[id\]/*", "src/[id]", False),
    ("src/{a,b}/c", "src", False),
    ("src/{ab,ac}", "src", False),
    ("{src,src/a}", "src", True),
    ("{src/**,src/a}", "src", True),
    ("{a,b}", "", False),
    ("src/[a]", "src", False),
]


@pytest.mark.parametrize(("text", "prefix", "whole"), PREFIXES)
def test_prefix_and_whole(text: str, prefix: str, whole: bool) -> None:
    """The prefix ends before the first segment with a wildcard; whole means everything below it."""
    assert (parse(text).prefix, parse(text).whole) == (prefix, whole)


def test_a_pattern_cannot_be_changed() -> None:
    """A pattern is immutable, hashable, equal to its like and parsed once."""
    pattern = parse("src/*.py")
    with pytest.raises(AttributeError):
        pattern.prefix = "lib"  # type: ignore[misc]
    assert parse("src/*.py") is pattern
    assert {pattern: 1}[parse("src/*.py", False)] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a/b", False), ("*", True), ("a?", True), ("[", True), ("{", True), (r"\*\[\?\{", False), (r"\\*", True)],
)
def test_has_wildcard(text: str, expected: bool) -> None:
    """A wildcard is an unescaped star, question mark, class or brace."""
    assert has_wildcard(text) is expected


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in patterns.NOT_NAMES
)
paths = st.lists(names | st.sampled_from(["[id]", "{a,b}", "*", "a\\", "**"]), min_size=1, max_size=4).map("/".join)


@given(paths, paths, st.booleans())
@example("app/[id]/page.tsx", "app/i/page.tsx", False)
def test_escape_means_that_path(path: str, other: str, fold: bool) -> None:
    """An escaped path matches itself and what is below it, no other path, and is its own prefix."""
    pattern = parse(escape(path), fold)
    form = patterns._normal(path, fold)
    assert pattern.matches(path)
    assert pattern.matches(path + "/below")
    assert pattern.prefix == form
    assert not has_wildcard(escape(path))
    assert pattern.matches(other) == (patterns._normal(other, fold) + "/").startswith(form + "/")


# --- Unicode and case


def test_composed_and_decomposed_are_one_letter() -> None:
    """Patterns and paths meet in NFC, also across a brace and within a class."""
    composed, decomposed = normalize("NFC", "café"), normalize("NFD", "café")
    for one, other in ((composed, decomposed), (decomposed, composed)):
        assert parse(f"{one}/*").matches(f"{other}/x")
        assert parse(f"[{one}]").matches(other[3:])
        assert parse("caf?").matches(one)
        assert intersect(parse(one), parse(f"{other}/x"))
    assert parse("{a,e}\N{COMBINING ACUTE ACCENT}").matches("é")
    assert parse("{a,e}\N{COMBINING ACUTE ACCENT}").prefix == ""


FOLDED = [
    ("SRC/*.PY", "src/a.py"),
    ("src/*.py", "SRC/A.Py"),
    ("[A-C]x", "bX"),
    ("[a-c]x", "BX"),
    ("[À-Þ]", "é"),
    ("[à-þ]", "É"),
    ("[ǰ]", "ǰ"),
    ("straße", "STRASSE"),
    ("Σ?", "ςA"),
    ("[\N{KELVIN SIGN}]", "k"),
    ("[!b]", "A"),
]


@pytest.mark.parametrize(("text", "path"), FOLDED)
def test_folding_ignores_case(text: str, path: str) -> None:
    """Where the file system ignores case, so do letters, classes and prefixes, and the witness too."""
    pattern, literal = parse(text, True), parse(escape(path), True)
    assert pattern.matches(path)
    assert intersect(pattern, literal)
    found = witness(pattern, literal)
    assert found is not None
    assert pattern.matches(found)
    assert literal.matches(found.upper())


def test_case_matters_unless_folded() -> None:
    """Without folding upper and lower case are different letters; with it no class holds only upper case."""
    assert not parse("src").matches("SRC")
    assert not intersect(parse("[A-Z]"), parse("[a-z]"))
    assert intersect(parse("[!a-z]"), parse("[A-Z]"))
    assert not intersect(parse("[!a-z]", True), parse("[A-Z]", True))
    assert not parse("[!a]", True).matches("A")
    other = parse("[!a-z]", True)
    assert other.matches(witness(other, other) or "")


# --- whether two patterns meet: tables

MEET = [
    ("src/a.py", "src/a.py", "src/a.py"),
    ("src", "src/a/b.py", "src/a/b.py"),
    ("src/**", "src/api/*.py", "src/api/x.py"),
    ("*.py", "test_*", "test_x.py"),
    ("**/*.py", "src/api/routes.py", "src/api/routes.py"),
    ("*", "**", "x"),
    ("a?", "?b", "ab"),
    ("[a-m]*", "[m-z]*", "mx"),
    ("*.*", "?.", "a."),
    (".*", "*.", ".x."),
    ("??", ".?", ".a"),
    ("[.]*", "?[.]?", "..a"),
    ("[+.]", "?", "+"),
    ("{a,b}/c", "{d,b}/*", "b/c"),
    (r"app/\[id\]/*", "app/*/page.tsx", "app/[id]/page.tsx"),
]
APART = [
    ("src/a.py", "src/b.py"),
    ("src", "src2"),
    ("src/*", "srv"),
    ("src/*.py", "src/*.ts"),
    ("*.py", "src/**"),
    ("a/**", "a*"),
    ("**/*.py", "**/*.ts"),
    ("a*b", "a*c"),
    ("[a-c]", "[d-f]"),
    ("?", "??"),
    ("[+-9]", "[!+-.0-9]"),
    ("[.]", "*"),
    ("[.]", "**"),
    ("[.][.]", "??"),
    (".?", "?."),
    ("*[.]*", "[.][.]"),
    ("x/[.]/**", "x/**/*"),
    ("{a,b}/c", "{d,e}/c"),
    ("app/[id]/page.tsx", r"app/\[id\]/page.tsx"),
]


@pytest.mark.parametrize(("a", "b", "path"), MEET)
def test_meet(a: str, b: str, path: str) -> None:
    """Patterns that meet, whichever comes first, and the path that shows it."""
    assert intersect(parse(a), parse(b))
    assert intersect(parse(b), parse(a))
    assert witness(parse(a), parse(b)) == path


@pytest.mark.parametrize(("a", "b"), APART)
def test_apart(a: str, b: str) -> None:
    """Patterns that no path matches both of; no segment is ever empty, ``.`` or ``..``."""
    assert not intersect(parse(a), parse(b))
    assert not intersect(parse(b), parse(a))
    assert witness(parse(a), parse(b)) is None


# --- the oracles

TOKENS = {
    "a": "a",
    "b": "b",
    ".": r"\.",
    "*": "[^/]*",
    "?": "[^/]",
    "[ab]": "[ab]",
    "[a.]": "[a.]",
    "[.]": r"\.",
    "[!a]": "[^a/]",
    "[!.]": "[^./]",
    "[!.b]": "[^.b/]",
}
SPELLED = re.compile(r"\[.*?\]|.")
LETTERS = "abx."  # x stands for every letter that no token names


def words(length: int) -> list[str]:
    """Every name of up to ``length`` letters, the shortest first."""
    every = ("".join(word) for n in range(1, length + 1) for word in product(LETTERS, repeat=n))
    return [word for word in every if word not in (".", "..")]


def regex(flat: str) -> str:
    """A brace-free pattern over ``TOKENS`` as a regular expression for paths that end in a slash."""
    parts = flat.split("/")
    spelled = [
        "(?:[^/]+/)*" if p == "**" else "".join(map(TOKENS.__getitem__, SPELLED.findall(p))) + "/" for p in parts
    ]
    if parts[-1] == "**":
        spelled[-1] = "(?:[^/]+/)+"
    elif not set(parts[-1]) & set("*?["):
        spelled.append("(?:[^/]+/)*")
    return "".join(spelled)


def valid(flat: str) -> bool:
    """Whether no segment is empty, ``.`` or ``..``."""
    return not {"", ".", ".."} & set(flat.split("/"))


@lru_cache(None)
def names_of(segment: str, length: int) -> frozenset[str]:
    """The names of up to ``length`` letters that a segment matches."""
    expression = re.compile(regex(segment))
    return frozenset(word for word in words(length) if expression.match(word + "/"))


def brute_force(one: list[str], other: list[str]) -> bool:
    """Whether some path matches a pattern of both lists: all paths are tried that could be the shortest such.

    A shortest common name is no longer than the letters of two segments together (three, for what only dots could
    spell), a shortest common path no longer than the segments of two patterns.  Of names that the same segments
    match one is tried.
    """
    segments = sorted({part for flat in one + other for part in flat.split("/")} - {"**"})
    length = max([3, *(letters(x) + letters(y) for x, y in combinations_with_replacement(segments, 2))])
    alike = {tuple(name in names_of(x, length) for x in segments): name for name in reversed(words(length))}
    depth = max(len(flat.split("/")) for flat in one) + max(len(flat.split("/")) for flat in other)
    first, second = (re.compile("|".join(map(regex, flats))) for flats in (one, other))
    every = ("/".join(path) + "/" for n in range(1, depth + 1) for path in product(alike.values(), repeat=n))
    return any(first.fullmatch(path) and second.fullmatch(path) for path in every)


def letters(segment: str) -> int:
    """How many letters a segment must have."""
    return sum(token != "*" for token in SPELLED.findall(segment))


def product_automaton(one: list[str], other: list[str]) -> bool:
    """The same, by search through the product of the two automata, which has no bound on length."""
    return any(search(glob(x), glob(y), names_in_both) for x in one for y in other)


def glob(flat: str) -> list[str]:
    """The segments of a brace-free pattern, ``**`` for any number of any segments."""
    parts = flat.split("/")
    if parts[-1] == "**":
        return [*parts[:-1], "*", "**"]
    return parts if set(parts[-1]) & set("*?[") else [*parts, "**"]


def search(a: list[str], b: list[str], in_both: Callable[[str, str], bool]) -> bool:
    """Whether the end can be reached in the product of two globs of segments."""
    todo, seen = [(0, 0)], {(0, 0)}
    while todo:
        i, j = todo.pop()
        x, y = (*a, None)[i], (*b, None)[j]
        steps = [(i + 1, j)] * (x == "**") + [(i, j + 1)] * (y == "**")
        if x and y and in_both("*" if x == "**" else x, "*" if y == "**" else y):
            steps.append((i + (x != "**"), j + (y != "**")))
        todo += set(steps) - seen
        seen.update(steps)
    return (len(a), len(b)) in seen


@lru_cache(None)
def names_in_both(x: str, y: str) -> bool:
    """Whether two segments have a name in common: the product of the two, and of what is no name."""
    a, b = SPELLED.findall(x), SPELLED.findall(y)
    todo, seen = [(0, 0, "")], {(0, 0, "")}
    while todo:
        i, j, read = todo.pop()
        steps = [(i + 1, j, read)] * (a[i : i + 1] == ["*"]) + [(i, j + 1, read)] * (b[j : j + 1] == ["*"])
        for letter in LETTERS if i < len(a) and j < len(b) else "":
            if re.match(TOKENS[a[i]], letter) and re.match(TOKENS[b[j]], letter):
                longer = read + letter if read + letter in (".", "..") else "a name"
                steps.append((i + (a[i] != "*"), j + (b[j] != "*"), longer))
        todo += set(steps) - seen
        seen.update(steps)
    return (len(a), len(b), "a name") in seen


# --- whether two patterns meet: every small pair, and generated ones


def test_every_pair_of_small_segments() -> None:
    """All 12,000 pairs of segments of up to three tokens meet exactly if they have a name in common."""
    tokens = ("a", ".", "*", "?", "[!a]")
    segments = ["".join(spelled) for n in (1, 2, 3) for spelled in product(tokens, repeat=n)]
    parsed = [(parse(segment), names_of(segment, 6)) for segment in segments if valid(segment)]
    for (a, some), (b, others) in combinations_with_replacement(parsed, 2):
        assert intersect(a, b) == (not some.isdisjoint(others)), f"{a.text} and {b.text}"
        assert not contains(a, b) or some >= others, f"{a.text} contains {b.text}"
        assert not contains(b, a) or others >= some, f"{b.text} contains {a.text}"
    for pattern, found in parsed[::5]:
        assert {name for name in words(6) if pattern.matches(name)} == found, pattern.text


def every_pair_of_paths(segments: int) -> None:
    """All pairs of patterns of up to so many segments, held against all paths that are long enough."""
    texts = ["/".join(parts) for n in range(1, segments + 1) for parts in product(("a", "b", "*", "**"), repeat=n)]
    every = ["/".join(path) for n in range(1, 2 * segments + 1) for path in product("abx", repeat=n)]
    found = {text: {path for path in every if re.fullmatch(regex(text), path + "/")} for text in texts}
    for text in texts:
        assert {path for path in every if parse(text).matches(path)} == found[text], text
    for a, b in combinations_with_replacement(texts, 2):
        assert intersect(parse(a), parse(b)) == (not found[a].isdisjoint(found[b])), f"{a} and {b}"
        assert not contains(parse(a), parse(b)) or found[a] >= found[b], f"{a} contains {b}"
        assert not contains(parse(b), parse(a)) or found[b] >= found[a], f"{b} contains {a}"


def test_every_pair_of_short_paths() -> None:
    """All 3,500 pairs of patterns of up to three segments meet exactly if they have a path in common."""
    every_pair_of_paths(3)


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_every_pair_of_longer_paths() -> None:
    """All 58,000 pairs of patterns of up to four segments meet exactly if they have a path in common."""
    every_pair_of_paths(4)


Spelling = tuple[str, list[str]]  # a pattern, and the brace-free patterns that it stands for


def joined(parts: list[Spelling], between: str = "") -> Spelling:
    """What parts one after the other spell."""
    return between.join(text for text, _ in parts), [between.join(x) for x in product(*(flats for _, flats in parts))]


def either(parts: list[Spelling]) -> Spelling:
    """What the parts in braces spell."""
    return "{" + ",".join(text for text, _ in parts) + "}", [flat for _, flats in parts for flat in flats]


def spellings(tokens: int, segments: int) -> st.SearchStrategy[Spelling]:
    """Patterns of up to so many segments of about so many tokens, some of them in braces, which may span segments."""
    plain = st.sampled_from(sorted(TOKENS)).map(lambda token: (token, [token]))
    segment = st.lists(plain, min_size=1, max_size=tokens).map(joined) | st.just(("**", ["**"]))
    path = st.lists(segment, min_size=1, max_size=segments).map(lambda parts: joined(parts, "/"))
    braces = st.lists(path | st.just(("", [""])), min_size=1, max_size=2).map(either)
    mixed = st.lists(segment | braces, min_size=1, max_size=segments)
    return (path | mixed.map(lambda parts: joined(parts, "/")) | mixed.map(joined)).filter(lambda x: len(x[1]) < 9)


def check(some: list[Spelling], oracle: Callable[[list[str], list[str]], bool]) -> None:
    """Hold every pair to the oracle, and every answer to what must be true of all answers."""
    valid_ones = []
    for text, flats in some:
        if all(map(valid, flats)):
            valid_ones.append((parse(text), flats))
        else:
            with pytest.raises(Usage):
                parse(text)
    for (a, flats), (b, others) in combinations_with_replacement(valid_ones, 2):
        pair = f"{a.text} and {b.text}"
        found = witness(a, b)
        assert intersect(a, b) == oracle(flats, others), pair
        assert (found is not None) == intersect(b, a) == (witness(b, a) is not None), pair
        assert intersect(parse(a.text, True), parse(b.text, True)) == (found is not None), pair
        if found is not None:
            assert a.matches(found), f"{pair}: {found}"
            assert b.matches(found), f"{pair}: {found}"
            assert nested(a.prefix, b.prefix), pair
            assert nested(a.prefix, found) and len(a.prefix) <= len(found), pair
            assert intersect(a, parse(escape(found))), pair
            assert not contains(a, b) or a.matches(witness(b, b) or ""), pair
        if a.whole:
            assert a.matches(f"{a.prefix}/x/.y".lstrip("/")), a.text
    for (a, _), (b, _), (c, _) in zip(valid_ones, valid_ones[1:], valid_ones[2:], strict=False):
        wider = parse("{" + a.text + "," + b.text + "}")
        assert intersect(wider, c) == (intersect(a, c) or intersect(b, c)), f"{wider.text} and {c.text}"


def nested(p: str, q: str) -> bool:
    """Whether one path is at or below the other."""
    return not p or not q or f"{p}/".startswith(f"{q}/") or f"{q}/".startswith(f"{p}/")


@settings(max_examples=200, deadline=None)
@given(st.lists(spellings(tokens=2, segments=2), min_size=3, max_size=3))
def test_generated_pairs_against_enumeration(some: list[Spelling]) -> None:
    """About 1,200 pairs of patterns with braces meet exactly if one of all paths of sufficient length matches both."""
    check(some, brute_force)


@settings(max_examples=300, deadline=None)
@given(st.lists(spellings(tokens=6, segments=4), min_size=3, max_size=3))
def test_generated_pairs_against_the_product_automaton(some: list[Spelling]) -> None:
    """About 1,800 pairs of longer patterns meet exactly if the product of their automata accepts something."""
    check(some, product_automaton)


@pytest.mark.long
@pytest.mark.timeout(2400)
@settings(max_examples=10_000, deadline=None)
@given(st.lists(spellings(tokens=2, segments=2), min_size=4, max_size=4))
def test_100_000_pairs_against_enumeration(some: list[Spelling]) -> None:
    """Ten pairs each of 10,000 times four patterns, with both oracles, which must agree too."""
    check(some, brute_force)
    check(some, product_automaton)


# --- no pattern is too nasty

NASTY = [
    ("a*" * 500 + "b", "a*" * 500 + "c", False),
    ("a*" * 500 + "b", "*b" * 500, True),
    ("*" + "a" * 300 + "b*", "[ac]" * 250, False),
    ("*" + "a" * 100 + "b*", "a" * 1000, False),
    ("*a" * 300 + "*b", "?" * 700, True),
    ("**/a/" * 200 + "b*", "**/a/" * 200 + "c*", False),
    ("**/a/" * 200 + "b", "**/b/" * 200 + "b", True),
    ("**/" + "a*/" * 100 + "b*", "a?/" * 300 + "a?", False),
    ("**/" + "*a*/" * 80 + "**", "*/" * 500 + "a", True),
]


@pytest.mark.parametrize(("a", "b", "expected"), NASTY)
def test_work_is_at_most_the_product_of_the_lengths(
    a: str, b: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes a backtracking matcher exponential costs at most one comparison for each pair of elements."""
    compared = 0

    def counted(compare: Callable[[Any, Any, Any], str | None]) -> Callable[[Any, Any, Any], str | None]:
        def count(self: object, x: object, y: object) -> str | None:
            nonlocal compared
            compared += 1
            return compare(self, x, y)

        return count

    first, second = parse(a), parse(b)
    monkeypatch.setattr(Effort, "letter", counted(Effort.letter))
    monkeypatch.setattr(Effort, "name", counted(Effort.name))
    assert intersect(first, second) == expected
    assert compared <= len(a) * len(b)


def test_matching_does_not_backtrack_exponentially() -> None:
    """A path that nearly matches many stars is refused in no time."""
    assert not parse("*a" * 200 + "b").matches("a" * 1000)
    assert not parse("**/a/" * 100 + "b*").matches("a/" * 300 + "c")


def test_many_alternatives_on_both_sides() -> None:
    """The largest number of alternatives on both sides is decided too."""
    assert not intersect(parse("{a*,b*}" * 8 + "c"), parse("{a*,b*}" * 8 + "d"))
    assert intersect(parse("{a*,b*}" * 8 + "c"), parse("{c*,b*}" * 8 + "c"))


@given(st.text("ab.*?[]!-{},/\\^:É\N{COMBINING ACUTE ACCENT}ß", max_size=12), st.booleans())
@settings(max_examples=500)
def test_any_text_is_a_pattern_or_refused_in_one_line(text: str, fold: bool) -> None:
    """Nothing but ``Usage`` comes out of a text that is no pattern; one that is matches its own witness."""
    try:
        pattern = parse(text, fold)
    except Usage as refusal:
        assert len(str(refusal).splitlines()) == 1
        return
    found = witness(pattern, pattern)
    assert intersect(pattern, pattern) == (found is not None)
    if found is not None and patterns._normal(found, fold) == found:
        assert pattern.matches(found)

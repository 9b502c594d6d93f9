r"""Path patterns: what a pattern matches, and whether two patterns can meet.

Guarantee: ``intersect(a, b)`` is False only if no path at all matches both patterns, and where it is True,
``witness(a, b)`` names a path that does.  The time is at worst the product of the patterns' lengths with
their braces expanded, which `LONGEST`, `MOST_ALTERNATIVES` and `LARGEST` bound; no pattern makes it exponential.

Not guaranteed: that such a path exists, or can (the name may be too long, ``a`` may be a file where ``a/b``
is meant).  Where a wildcard or class meets what Unicode would compose or fold into another letter (a
combining mark right after a wildcard, a class of nothing but such letters), ``intersect`` may be True for a
path that no file can have: it errs towards the conflict.  For everything else it is exact.

A pattern is anchored at the root and read segment by segment (design, "Reservations"):

=============  ===========================================================================================
``*``          any run of characters within one segment, also none, also a leading dot
``?``          one character
``[a-z]``      one character of the class, ``[!a-z]`` one that is not; a ``]`` that comes first is itself
``{a,b}``      either; may nest, may hold ``/``: the union of its expansions, each of them a pattern
``**``         as a whole segment any number of segments, also none; as the last segment at least one, so
               ``src/**`` is everything below ``src`` but not ``src``; within a longer segment as ``*``
``\``          the next character is itself
=============  ===========================================================================================

No wildcard matches ``/`` or NUL.  A pattern whose last segment has no wildcard (braces are none) also
covers everything below it: ``src`` covers ``src/a/b.py``, but ``src/*`` is one level.  Letters are compared
after NFC normalisation, and after case folding if ``fold`` says that the file system ignores case; ``?``
and classes then read folded letters (of which ß is two).

How it is decided: an alternative is a sequence of segments, a segment one of letters, and both are *globs*; `globs` has
the algorithm, which counts its steps in an `Effort`.  Where one is handed in and used up, two patterns count as meeting,
a path as matched, and a pattern as not contained: the answer errs towards the conflict.  A text beyond the bounds here
(`TooMuch`), in a document that an older version wrote, is `unread`: a pattern that meets all others.
The tests hold the answers against the product automaton and against enumeration.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from itertools import groupby, takewhile
from posixpath import commonpath
from typing import TYPE_CHECKING, NamedTuple

from mbox.errors import Usage

from .globs import ANY_NAME, ENDLESS, NOT_NAMES, STAR, Effort, Spent, gaps

if TYPE_CHECKING:
    from typing import Any

    from .globs import Alternative, Atom, Ranges, Segment

RELATIVE = "write it relative to the root, without empty, '.' or '..' segments"
LONGEST = 1024
"""Characters of a pattern at most."""

MOST_ALTERNATIVES = 256
"""Alternatives that the braces of a pattern may stand for at most."""

LARGEST = 32 * 1024
"""Letters that all of a pattern's alternatives may have together."""

_WILD = frozenset("*?[{\\")
_LAST_CASED = 0x1EFFF  # no letter after it has an upper and a lower case
_NEVER = ((0, 0), (ord("/"), ord("/")))
_NEVER_FOLDED = (*_NEVER, (ord("A"), ord("Z")))


class Pattern(NamedTuple):
    """A parsed pattern; make it with ``parse``.  Only patterns of the same ``fold`` may be compared."""

    text: str
    fold: bool
    prefix: str
    """The longest path that all it matches is at or below, normalised (and folded); ``""`` is the root.
    Two patterns never meet unless one's prefix is at or below the other's."""
    whole: bool
    """It surely matches everything below ``prefix``."""
    alternatives: tuple[Alternative, ...]
    heads: tuple[str, ...]
    """The `prefix` of each alternative."""
    plain: bool
    """It is spelt without wildcards: one path, and what is below it."""
    size: int
    """Letters, wildcards and separators of all alternatives: what it costs to read it.  0 for `unread`."""

    @property
    def key(self) -> Any:
        """What two patterns have in common that are the same, however they are spelt."""
        return self.alternatives if self.size else self.text

    def matches(self, path: str, effort: Effort | None = None) -> bool:
        """Whether ``path``, relative to the root, matches; also True where ``effort`` does not reach to tell.

        Raises ``Usage`` if it is not such a path.
        """
        path = _normal(path, self.fold)
        names = path.split("/")
        if not set(names).isdisjoint(NOT_NAMES):
            raise Usage(f"path {_shown(path)}: {RELATIVE}")
        if self.prefix and path != self.prefix and not path.startswith(self.prefix + "/"):
            return False
        if self.whole and path != self.prefix:
            return True
        work = effort or Effort(ENDLESS)
        try:
            work.spend(1 + len(self.heads))
            near = [x for x, head in zip(self.alternatives, self.heads, strict=True) if _nested(head, path)]
            return any(work.read(x, names, work.name) is not None for x in near)
        except Spent:
            return True


def intersect(a: Pattern, b: Pattern, effort: Effort | None = None) -> bool:
    """Whether some path matches both; also True where ``effort`` does not reach to tell."""
    work = effort or Effort(ENDLESS)
    try:
        if is_apart(a, b, work):
            return False
        if a.whole and b.whole:
            return True
        return _common_path(a, b, work) is not None
    except Spent:
        return True


def is_apart(a: Pattern, b: Pattern, effort: Effort) -> bool:
    """Whether two patterns begin differently, so that they surely do not meet; a step, and never True when it is spent."""
    effort.count(1)
    return not effort.is_spent and not _nested(a.prefix, b.prefix)


def witness(a: Pattern, b: Pattern) -> str | None:
    """A path that both match, as an example for people, or None if there is none."""
    for path in (a.prefix, b.prefix):
        if path and a.matches(path) and b.matches(path):
            return path  # nicer than what is made up below it
    names = _common_path(a, b, Effort(ENDLESS))
    return None if names is None else "/".join(names)


def _common_path(a: Pattern, b: Pattern, effort: Effort) -> list[str] | None:
    """The names of a path that some alternative of both reads, or None."""
    for x, head in zip(a.alternatives, a.heads, strict=True):
        effort.spend(len(b.heads))
        for y, other in zip(b.alternatives, b.heads, strict=True):
            if not _nested(head, other):
                continue
            names = effort.meet(x, y, effort.name, [])
            if names is not None:
                return names
    return None


def _nested(p: str, q: str) -> bool:
    """Whether one path is at or below the other; ``""`` is the root."""
    return not p or not q or p == q or p.startswith(q + "/") or q.startswith(p + "/")


def contains(outer: Pattern, inner: Pattern, effort: Effort | None = None) -> bool:
    """Whether ``outer`` matches all that ``inner`` does.

    A True is certain.  A False may have missed that several alternatives of ``outer`` do it only together, that no
    name is empty (``?*`` for ``*``), or that a class holds one letter (``a`` for ``[a]``); or ``effort`` did not reach.
    """
    work = effort or Effort(ENDLESS)
    try:
        return all(any(_alternative_within(x, y, work) for y in outer.alternatives) for x in inner.alternatives)
    except Spent:
        return False


def _alternative_within(x: Alternative, y: Alternative, effort: Effort) -> bool:
    effort.spend(len(x) + len(y))
    head, whole = _head(y)
    names = tuple(head.split("/")) if head else ()
    if whole and x[: len(names)] == names and any(element is not STAR for element in x[len(names) :]):
        return True
    return effort.within(x, y, effort.name_within)


def escape(path: str) -> str:
    """The pattern that means ``path`` letter by letter (and, as every such pattern, what is below it)."""
    return "".join("\\" + c if c in "*?[{\\" else c for c in path)


def has_wildcard(text: str) -> bool:
    """Whether a pattern holds anything but letters: ``*``, ``?``, ``[`` or ``{`` that is not escaped."""
    letters = iter(text)
    for c in letters:
        if c == "\\":
            next(letters, None)
        elif c in "*?[{":
            return True
    return False


# --- reading a pattern


class TooMuch(Usage):
    """A pattern is beyond the bounds."""


MOST = 1000
"""Patterns in one call, or on one task, at most."""

LETTERS = 256 * 1024
"""Letters that all the patterns of a call may have together, with their braces expanded."""


def check(texts: Collection[str], fold: bool) -> None:
    """`Usage` if one of ``texts`` is no pattern, or if they are more than one call, or one task, may have."""
    if len(texts) > MOST:
        raise Usage(f"{len(texts)} patterns, at most {MOST} at once: name folders instead, or name them in several calls")
    size = 0
    for text in texts:
        size += parse(text, fold).size
        if size > LETTERS:
            raise Usage(
                f"the patterns have over {LETTERS} letters with their braces expanded, which is the most at once: "
                "use fewer braces, or name them in several calls"
            )


def unread(text: str, fold: bool) -> Pattern:
    """What stands for a pattern that is not read: it meets every other that is not surely somewhere else."""
    head = literal_prefix(text, fold)
    return parse(escape(head) if head else "**", fold)._replace(text=text, plain=False, size=0)


@lru_cache(maxsize=1024)
def parse(text: str, fold: bool = False) -> Pattern:
    """The pattern that ``text`` spells; ``fold`` for a file system that ignores case.  Raises ``Usage``, or `TooMuch`."""
    if not text:
        raise Usage("pattern is empty; '**' means every path")
    if len(text) > LONGEST:
        raise _beyond(text, f"{len(text)} characters, at most {LONGEST}")
    if "\0" in text:
        raise _wrong(text, "NUL is in no path")
    expansions = _expand(_normal(text, False), fold)
    same: dict[Segment, Segment] = {}  # equal segments are one, so that they are compared once
    alternatives = tuple(dict.fromkeys(_alternative(atoms, text, fold, same) for atoms in expansions))
    heads = [_head(x) for x in alternatives]
    prefix = commonpath([head for head, _ in heads])
    whole, size = (prefix, True) in heads, sum(map(len, expansions))
    plain = not has_wildcard(text)
    return Pattern(text, fold, prefix, whole, alternatives, tuple(head for head, _ in heads), plain, size)


def _expand(text: str, fold: bool) -> list[list[Atom | None]]:
    """The alternatives that the braces of ``text`` stand for, each a list of atoms, stars and ``/``."""
    now: list[list[Atom | None]] = [[]]
    outer: list[tuple[list[list[Atom | None]], ...]] = []  # what precedes each open brace, and its branches
    i = 0
    while i < len(text):
        c = text[i]
        i += 1
        if c == "{":
            outer.append((now, []))
            now = [[]]
        elif c == "," and outer:
            outer[-1][1].extend(now)
            now = [[]]
        elif c == "}" and outer:
            before, branches = outer.pop()
            branches += now
            if len(before) * len(branches) > MOST_ALTERNATIVES:
                raise _beyond(text, f"more than {MOST_ALTERNATIVES} alternatives; give several patterns")
            _check_size(text, len(branches) * _size(before) + len(before) * _size(branches))
            now = [x + y for x in before for y in branches]
        else:
            atom: Atom | None = c
            if c == "*":
                atom = STAR
            elif c == "?":
                atom = _letters([], True, fold)
            elif c == "[":
                atom, i = _class(text, i, fold)
            elif c == "\\":
                atom, i = _escaped(text, i)
            for alternative in now:
                alternative.append(atom)
    if outer:
        raise _wrong(text, "'{' without '}'; write \\{ for the letter")
    _check_size(text, _size(now))
    return now


def _size(alternatives: list[list[Atom | None]]) -> int:
    return sum(map(len, alternatives))


def _check_size(text: str, size: int) -> None:
    if size > LARGEST:
        raise _beyond(text, f"{size} letters with its braces expanded, at most {LARGEST}; give several patterns")


def _class(text: str, i: int, fold: bool) -> tuple[Ranges, int]:
    """The class that opens just before ``i``, and the position after it."""
    negated = text.startswith("!", i)
    i += negated
    if text.startswith("^", i) and not negated:
        raise _wrong(text, "'[^': write [!...] for all but these, \\^ for the letter")
    start = i
    members: list[tuple[int, int]] = []
    while not text.startswith("]", i) or i == start:
        if text.startswith(("[:", "[=", "[."), i):
            raise _wrong(text, "no named classes; write ranges, as [a-z0-9], \\[ for the letter")
        low, i = _member(text, i)
        high = low
        if text.startswith("-", i) and not text.startswith("-]", i):
            high, i = _member(text, i + 1)
        if high < low:
            raise _wrong(text, f"range {low}-{high} is backwards")
        members.append((ord(low), ord(high)))
    return _letters(members, negated, fold), i + 1


def _member(text: str, i: int) -> tuple[str, int]:
    """The letter at ``i`` of a class, and the position after it."""
    c, i = _escaped(text, i + 1) if text.startswith("\\", i) else (text[i : i + 1], i + 1)
    if c in ("", "/"):
        raise _wrong(text, "'[' without ']' in its segment; write \\[ for the letter")
    return c, i


def _escaped(text: str, i: int) -> tuple[str, int]:
    """The letter at ``i``, which a backslash precedes, and the position after it."""
    if i == len(text):
        raise _wrong(text, "nothing follows the last backslash; write \\\\ for the letter")
    return text[i], i + 1


def _alternative(atoms: list[Atom | None], text: str, fold: bool, same: dict[Segment, Segment]) -> Alternative:
    """The glob of segments that one expansion of ``text`` spells; those of them that are in ``same`` already."""
    names: list[list[Atom | None]] = [[]]
    for atom in atoms:
        if atom == "/":
            names.append([])
        else:
            names[-1].append(atom)
    segments = [_segment(name, fold) for name in names]
    for segment in segments:
        if segment in NOT_NAMES:
            raise _wrong(text, RELATIVE)
    if segments[-1] is STAR:
        segments[-1:] = [ANY_NAME, STAR]
    elif isinstance(segments[-1], str):
        segments.append(STAR)
    return tuple(x if x is STAR else same.setdefault(x, x) for x in segments)


def _segment(atoms: list[Atom | None], fold: bool) -> Segment | None:
    """One segment: its name if it has no wildcard, ``STAR`` for ``**``, else a glob of atoms."""
    if atoms == [STAR, STAR]:
        return STAR
    if {str}.issuperset(map(type, atoms)):
        return _normal("".join(map(str, atoms)), fold)
    glob: list[Atom | None] = []
    for kind, run in groupby(atoms, type):
        if kind is str:
            glob += _normal("".join(map(str, run)), fold)
        elif kind is tuple:
            glob += run
        else:
            glob.append(STAR)  # for any number of them
    return tuple(glob)


def _head(alternative: Alternative) -> tuple[str, bool]:
    """The longest plain path an alternative starts with, and whether it surely matches all below that."""
    names = [str(name) for name in takewhile(_is_plain, alternative)]
    tail = alternative[len(names) :]
    whole = STAR in tail and tail.count(ANY_NAME) <= 1 and {STAR, ANY_NAME}.issuperset(tail)
    return "/".join(names), whole


def _is_plain(element: Atom | Segment | None) -> bool:
    return isinstance(element, str)


def _letters(members: list[tuple[int, int]], negated: bool, fold: bool) -> Ranges:
    """The class of ``members``, or of all others, as ascending ranges of what a (folded) path can hold."""
    if fold:
        apart = gaps(gaps(members))
        members = [folded for low, high in apart for folded in _fold_range(low, high)]
    others = members if negated else gaps(members)
    return gaps([*others, *(_NEVER_FOLDED if fold else _NEVER)])


def _fold_range(low: int, high: int) -> list[tuple[int, int]]:
    """What the letters of a range are after folding, without those that become more than one letter."""
    from bisect import bisect_left, bisect_right

    foldings = _foldings(high < 128)
    codes = list(foldings)
    changes = {code: foldings[code] for code in codes[bisect_left(codes, low) : bisect_right(codes, high)]}
    kept = gaps([*gaps([(low, high)]), *((code, code) for code in changes)])
    return [*kept, *((ord(folded), ord(folded)) for folded in changes.values() if len(folded) == 1)]


@lru_cache(maxsize=2)
def _foldings(ascii_only: bool) -> dict[int, str]:
    """What every letter becomes that is not its own folding."""
    letters = map(chr, range(128 if ascii_only else _LAST_CASED + 1))
    return {ord(c): _normal(c, True) for c in letters if c.casefold() != c}


def _normal(text: str, fold: bool) -> str:
    if text.isascii():
        return text.lower() if fold else text
    from unicodedata import normalize

    return normalize("NFC", normalize("NFD", text).casefold() if fold else text)


def _wrong(text: str, why: str) -> Usage:
    return Usage(f"pattern {_shown(text)}: {why}")


def _beyond(text: str, why: str) -> TooMuch:
    return TooMuch(f"pattern {_shown(text)}: {why}")


def _shown(text: str) -> str:
    short = text if len(text) <= 80 else text[:77] + "..."
    return short if short.isprintable() else ascii(short)


def literal_prefix(text: str, fold: bool) -> str:
    """A path at or above all that ``text`` can mean in a document, as the index wants it; ``""`` is the root.

    Found without reading the pattern, so also where a person has spoilt it.
    """
    segments = text[: LONGEST + 1].split("/")
    spelt = list(map(unescaped, segments))
    if None in spelt:  # it may be spoilt, and then a backslash is a letter
        spelt = [segment if _WILD.isdisjoint(segment) else None for segment in segments]
    names: list[str] = []
    left = LONGEST // 2  # so that it is no longer than a pattern may be when every letter is escaped
    for name in spelt:
        if name is None or name in NOT_NAMES or "\0" in name or left <= len(name):
            break
        left -= len(name) + 1
        names.append(name)
    return _normal("/".join(names), fold)


def unescaped(text: str) -> str | None:
    """The letters that ``text`` spells; None if it has a wildcard, or ends in a backslash."""
    if _WILD.isdisjoint(text):
        return text
    if has_wildcard(text):
        return None
    letters = iter(text)
    found = [next(letters, "") if letter == "\\" else letter for letter in letters]
    return "".join(found) if found[-1] else None

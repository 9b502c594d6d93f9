r"""Path patterns: what a pattern matches, and whether two patterns can meet.

Guarantee: ``intersect(a, b)`` is False only if no path at all matches both patterns, and where it is True,
``witness(a, b)`` names a path that does.  The time is at worst the product of the patterns' lengths with
their braces expanded; no pattern makes it exponential.

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

How it is decided: a segment is a sequence of *atoms* (a letter, or a class as ranges of code points) and
stars; an alternative is a sequence of segments and stars.  So both levels are the same thing, a *glob*:
elements that read one item each, and ``STAR``, which reads any number.  A glob is a linear automaton whose
states are the positions in it, with a loop at every star.  Whether the product of two such automata accepts
anything can be told without searching it: ``_meet`` does, and for two segments asks itself, one level down,
whether they can be the same name.  The tests hold it against the product automaton and against enumeration.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby, takewhile
from posixpath import commonpath
from typing import TYPE_CHECKING, NamedTuple

from mbox.errors import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Ranges = tuple[tuple[int, int], ...]
    Atom = str | Ranges
    Segment = str | tuple[Atom | None, ...]
    Alternative = tuple[Segment | None, ...]
    Glob = Sequence[Atom | None] | Sequence[Segment | None]
    Common = Callable[[Any, Any], str | None]

STAR = None
ANY_NAME = (STAR,)  # the segment `*`
NOT_NAMES = ("", ".", "..")  # what no segment of a path is
RELATIVE = "write it relative to the root, without empty, '.' or '..' segments"
LONGEST = 1024
MOST_ALTERNATIVES = 256

_LAST = 0x10FFFF
_LAST_CASED = 0x1EFFF  # no letter after it has an upper and a lower case
_NEVER = ((0, 0), (ord("/"), ord("/")))
_NEVER_FOLDED = (*_NEVER, (ord("A"), ord("Z")))
_READABLE = ((ord("0"), ord("9")), (ord("A"), ord("Z")), (ord("a"), ord("z")))


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

    def matches(self, path: str) -> bool:
        """Whether ``path``, relative to the root, matches.  Raises ``Usage`` if it is not such a path."""
        path = _normal(path, self.fold)
        names = path.split("/")
        if not set(names).isdisjoint(NOT_NAMES):
            raise Usage(f"path {_shown(path)}: {RELATIVE}")
        if self.prefix and path != self.prefix and not path.startswith(self.prefix + "/"):
            return False
        if self.whole and path != self.prefix:
            return True
        return any(_read(x, names, _common_name) is not None for x in self.alternatives)


def intersect(a: Pattern, b: Pattern) -> bool:
    """Whether some path matches both."""
    p, q = a.prefix, b.prefix
    if p and q and p != q and not p.startswith(q + "/") and not q.startswith(p + "/"):
        return False
    if a.whole and b.whole:
        return True
    return any(_meet(x, y, _common_name, []) is not None for x in a.alternatives for y in b.alternatives)


def witness(a: Pattern, b: Pattern) -> str | None:
    """A path that both match, as an example for people, or None if there is none."""
    for path in (a.prefix, b.prefix):
        if path and a.matches(path) and b.matches(path):
            return path  # nicer than what _meet makes up below it
    for x in a.alternatives:
        for y in b.alternatives:
            names = _meet(x, y, _common_name, [])
            if names is not None:
                return "/".join(names)
    return None


def contains(outer: Pattern, inner: Pattern) -> bool:
    """Whether ``outer`` matches all that ``inner`` does.

    A True is certain.  A False may have missed that several alternatives of ``outer`` do it only together, that no
    name is empty (``?*`` for ``*``), or that a class holds one letter (``a`` for ``[a]``).
    """
    return all(any(_alternative_within(x, y) for y in outer.alternatives) for x in inner.alternatives)


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


@lru_cache(maxsize=1024)
def parse(text: str, fold: bool = False) -> Pattern:
    """The pattern that ``text`` spells; ``fold`` for a file system that ignores case.  Raises ``Usage``."""
    if not text:
        raise Usage("pattern is empty; '**' means every path")
    if len(text) > LONGEST:
        raise _wrong(text, f"{len(text)} characters, at most {LONGEST}")
    if "\0" in text:
        raise _wrong(text, "NUL is in no path")
    expansions = _expand(_normal(text, False), fold)
    alternatives = tuple(dict.fromkeys(_alternative(atoms, text, fold) for atoms in expansions))
    heads = [_head(x) for x in alternatives]
    prefix = commonpath([head for head, _ in heads])
    return Pattern(text, fold, prefix, (prefix, True) in heads, alternatives)


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
                raise _wrong(text, f"more than {MOST_ALTERNATIVES} alternatives; give several patterns")
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
    return now


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


def _alternative(atoms: list[Atom | None], text: str, fold: bool) -> Alternative:
    """The glob of segments that one expansion of ``text`` spells."""
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
    return tuple(segments)


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
        members = [folded for low, high in members for folded in _fold_range(low, high)]
    others = members if negated else _gaps(members)
    return _gaps([*others, *(_NEVER_FOLDED if fold else _NEVER)])


def _gaps(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """The code points that are in none of ``ranges``, as ascending ranges."""
    gaps, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            gaps.append((start, low - 1))
        start = max(start, high + 1)
    return (*gaps, (start, _LAST)) if start <= _LAST else tuple(gaps)


def _overlap(x: Sequence[tuple[int, int]], y: Sequence[tuple[int, int]]) -> Ranges:
    """The code points that are in both."""
    return _gaps([*_gaps(x), *_gaps(y)])


def _fold_range(low: int, high: int) -> list[tuple[int, int]]:
    """What the letters of a range are after folding, without those that become more than one letter."""
    changes = {code: folded for code, folded in _foldings(high < 128).items() if low <= code <= high}
    kept = _gaps([*_gaps([(low, high)]), *((code, code) for code in changes)])
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


def _shown(text: str) -> str:
    short = text if len(text) <= 80 else text[:77] + "..."
    return short if short.isprintable() else ascii(short)


# --- the two levels: letters in a name, names in a path


def _meet(a: Glob, b: Glob, common: Common, filler: list[str]) -> list[str] | None:
    """A sequence of items that both globs read, or None; ``filler`` is in it if both have a star.

    If only one has a star, it is to read the other.  If both have, what lies before the first star and after the
    last one of either must agree; then they always meet, since each can read the rest of the other with a star.
    """
    if STAR not in a:
        a, b = b, a
    if STAR not in b:
        return _read(a, b, common)
    head, tail = _agree(a, b, common), _agree(a[::-1], b[::-1], common)
    if head is None or tail is None:
        return None
    a, b = a[len(head) : len(a) - len(tail)], b[len(head) : len(b) - len(tail)]
    if a[0] is not STAR:
        a, b = b, a
    # Now a begins with a star, and a or b ends with one.  So b reads a's items with its last star, while a reads with
    # its first what b has before that star, and with its last what b has after it, if b has anything there.
    cut = len(b) - 1 - b[::-1].index(STAR)
    before, own, after = ([common(x, x) for x in part if x is not STAR] for part in (b[:cut], a, b[cut:]))
    items = [*head, *before, *filler, *own, *after, *reversed(tail)]
    return [item for item in items if item is not None] if None not in items else None


def _agree(a: Glob, b: Glob, common: Common) -> list[str] | None:
    """Items that both read before the first star of either, or None if there are none such."""
    items: list[str] = []
    for x, y in zip(a, b, strict=False):
        if x is STAR or y is STAR:
            break
        item = common(x, y)
        if item is None:
            return None
        items.append(item)
    return items


def _read(glob: Glob, elements: Glob, common: Common) -> list[str] | None:
    """Items, one for each of ``elements`` (which have no star), that ``glob`` reads too; or None.

    On a mismatch only the last star needs to take one item more: what an earlier star could take, it can.
    """
    items: list[str] = []
    i, star, retry = 0, -1, 0  # the position in glob, that of its last star, and the first item after that star
    while (k := len(items)) < len(elements):
        if i < len(glob) and glob[i] is STAR:
            star, retry, i = i, k, i + 1
            continue
        item = common(glob[i], elements[k]) if i < len(glob) else None
        if item is not None:
            i += 1
        elif star >= 0:
            item = common(elements[retry], elements[retry])
            del items[retry:]
            i, retry = star + 1, retry + 1
        if item is None:
            return None
        items.append(item)
    return items if all(element is STAR for element in glob[i:]) else None


def _alternative_within(x: Alternative, y: Alternative) -> bool:
    head, whole = _head(y)
    names = tuple(head.split("/")) if head else ()
    if whole and x[: len(names)] == names and any(element is not STAR for element in x[len(names) :]):
        return True
    return _within(x, y, _name_within)


def _within(x: Glob, y: Glob, fits: Callable[[Any, Any], bool]) -> bool:
    """Whether ``y`` reads whatever ``x`` reads: element by element, where a star of ``y`` takes any, stars too."""
    at = _over_stars({0}, y)  # where in y one can be when x has been read up to here
    for element in x:
        stay = {j for j in at if j < len(y) and y[j] is STAR}
        steps = {j + 1 for j in at - stay if j < len(y) and element is not STAR and fits(element, y[j])}
        at = _over_stars(stay | steps, y)
    return len(y) in at


def _over_stars(at: set[int], y: Glob) -> set[int]:
    for j, element in enumerate(y):
        if j in at and element is STAR:
            at.add(j + 1)
    return at


def _name_within(x: Segment, y: Segment) -> bool:
    return x == y or _within(x, y, _letter_within)


def _letter_within(x: Atom, y: Atom) -> bool:
    if isinstance(x, str) or isinstance(y, str):
        return x == y or _common_letter(x, y) == x
    return all(any(low >= a and high <= b for a, b in y) for low, high in x)


@lru_cache(maxsize=4096)
def _common_name(x: Segment, y: Segment) -> str | None:
    """A name that both segments read, or None."""
    if isinstance(x, str):
        if isinstance(y, str):
            return x if x == y else None
        x, y = y, x
    if isinstance(y, str):
        return None if _read(x, y, _common_letter) is None else y
    letters = _meet(x, y, _common_letter, ["x"])
    if letters == [".", "."]:  # `*.*` read `?.` from the left; read from the right, the first letter is free
        letters = _meet(x[::-1], y[::-1], _common_letter, ["x"])
        letters = letters and letters[::-1]
    name = "".join(letters or ())
    return None if name in NOT_NAMES else name


def _common_letter(x: Atom, y: Atom) -> str | None:
    """A letter that both atoms read, or None; a dot only if there is no other, for a name must not be ``..``."""
    if isinstance(x, str):
        if isinstance(y, str):
            return x if x == y else None
        x, y = y, x
    if isinstance(y, str):
        return y if any(low <= ord(y) <= high for low, high in x) else None
    both = _overlap(x, y)
    for low, _ in reversed((*both, *_overlap(both, _READABLE))):
        if low != ord("."):  # no range goes on after the dot, since a slash follows it
            return chr(low)
    return "." if both else None

"""The words of a shell line: what they become where a command stands, as fields, and what variables mean there.

Promised: what is not known becomes `HOLE`, never a guess.  Not promised: variables of the environment but ``HOME`` and ``PWD``.
"""

from __future__ import annotations

from .shellsyntax import HOLE, LETTERS, Clause, Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .shellsyntax import Body, Budget, Word

_WILD = {ord("*"): "\1", ord("?"): "\2", ord("["): "\3"}
_CODE = {1: "*", 2: "?", 3: "["}
_MARKS = frozenset("\0\1\2\3")


def is_plain(field: str) -> bool:
    """Whether a field holds nothing unknown and no pattern."""
    return _MARKS.isdisjoint(field)


def code(field: str) -> str:
    """A field with its patterns as text."""
    return field.translate(_CODE)


def tame(field: str) -> str:
    """A field as a program would get it if no file matched; ``$`` for what is not known."""
    return code(field).replace(HOLE, "$")


# -- braces ----------------------------------------------------------------------------------------------------------


def braces(word: Word, budget: Budget) -> list[Word]:
    """The words that ``{a,b}`` and ``{1..3}`` make of one."""
    if not any(kind == "t" and not quoted and "{" in text for kind, text, quoted in word):
        return [word]
    items: Word = []
    for part in word:
        items.extend([("t", letter, False) for letter in part[1]] if part[0] == "t" and not part[2] else [part])
    done: list[Word] = []
    waiting = [items]
    while waiting:
        items = waiting.pop()
        budget.spend(1 + len(items) + 64 * len(waiting))
        found = _choices(items)
        if found:
            waiting.extend(reversed(found))
        else:
            done.append(_joined(items))
    return done


def _choices(items: Word) -> list[Word]:
    """The words that the outermost brace expression that comes first makes of one; none if there is none."""
    stack: list[list[int]] = []
    best: tuple[list[int], list[Word]] | None = None
    for at, (kind, mark, quoted) in enumerate(items):
        if kind != "t" or quoted:
            continue
        if mark == "{":
            stack.append([at])
        elif mark == "," and stack:
            stack[-1].append(at)
        elif mark == "}" and stack:
            edges = [*stack.pop(), at]
            counted = _counted(items[edges[0] + 1 : at]) if len(edges) == 2 and at - edges[0] < 30 else []
            if (len(edges) > 2 or counted) and (best is None or edges[0] < best[0][0]):
                best = edges, counted
    if best is None:
        return []
    edges, counted = best
    if len(edges) > 256:
        raise Unread
    choices = counted or [items[edges[at] + 1 : edges[at + 1]] for at in range(len(edges) - 1)]
    return [[*items[: edges[0]], *choice, *items[edges[-1] + 1 :]] for choice in choices]


def _counted(items: Word) -> list[Word]:
    """The members of ``1..3``; none if there are no two dots; one that is not known of any other range."""
    text = "".join(mark if kind == "t" and not quoted else "$" for kind, mark, quoted in items)
    first, dots, last = text.partition("..")
    if not dots:
        return []
    known = all(end.isascii() and end.isdecimal() and str(int(end)) == end for end in (first, last))
    if not known or abs(int(first) - int(last)) > 200:
        return [[("t", HOLE, False)]]
    step = 1 if int(first) <= int(last) else -1
    return [[("t", str(one), False)] for one in range(int(first), int(last) + step, step)]


def _joined(items: Word) -> Word:
    """A word in as few parts as it has."""
    out: Word = []
    for kind, text, quoted in items:
        if out and kind == out[-1][0] == "t" and quoted == out[-1][2]:
            out[-1] = (kind, out[-1][1] + text, quoted)
        else:
            out.append((kind, text, quoted))
    return out


# -- where a command stands ------------------------------------------------------------------------------------------


class Surroundings:
    """Where a command stands: its folder, and what variables, functions and arguments mean there.

    ``sure``: it is there even if an earlier ``cd`` failed.  A value that is not known is None.
    """

    __slots__ = ("args", "cwd", "errexit", "exported", "folders", "functions", "stack", "sure", "values")

    def __init__(self, cwd: str | None) -> None:
        self.cwd, self.sure, self.errexit = cwd, True, False
        self.values: dict[str, str | None] = {}
        self.functions: dict[str, Clause] = {}
        self.folders: dict[str, bool | None] = {}
        self.stack: list[str | None] = []
        self.exported: frozenset[str] = frozenset(("HOME",))
        self.args: list[str] | None = None

    def copy(self) -> Surroundings:
        """The same for a subshell."""
        made = Surroundings(None)
        self.give(made)
        return made

    def give(self, other: Surroundings) -> None:
        """Make ``other`` mean the same."""
        other.cwd, other.sure, other.errexit, other.args = self.cwd, self.sure, self.errexit, self.args
        other.values, other.functions = self.values.copy(), self.functions.copy()
        other.folders, other.stack, other.exported = self.folders.copy(), self.stack.copy(), self.exported

    def outside(self) -> Surroundings:
        """The same for another program: it has no functions, and of the variables those that are exported."""
        made = self.copy()
        made.functions = {}
        made.values = {name: value if name in self.exported else None for name, value in self.values.items()}
        return made

    def same(self, other: Surroundings) -> bool:
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def merge(self, other: Surroundings) -> None:
        """After one of two ways: what differs is not known."""
        self.cwd = self.cwd if self.cwd == other.cwd else None
        self.sure, self.errexit = self.sure and other.sure, self.errexit and other.errexit
        for name in self.values.keys() | other.values.keys():
            if self.values.get(name) != other.values.get(name):
                self.values[name] = None
        for full in self.folders.keys() | other.folders.keys():
            if self.folders.get(full) != other.folders.get(full):
                self.folders[full] = None
        for name in self.functions.keys() | other.functions.keys():
            mine, others = (one.functions.get(name, Clause("function", [[]])) for one in (self, other))
            if mine is not others:
                bodies = [*mine.bodies, *(body for body in others.bodies if body not in mine.bodies)]
                self.functions[name] = Clause("function", bodies)
        self.exported &= other.exported
        self.stack = self.stack if self.stack == other.stack else []
        self.args = self.args if self.args == other.args else None


# -- fields ----------------------------------------------------------------------------------------------------------

_MEANING = frozenset(
    ("PATH", "IFS", "BASH_ENV", "ENV", "CDPATH", "SHELLOPTS", "BASHOPTS", "LESSOPEN", "TAR_OPTIONS", "PROMPT_COMMAND",
     "RIPGREP_CONFIG_PATH", "PWD", "OLDPWD", "RANDOM", "SRANDOM", "SECONDS", "LINENO", "EPOCHSECONDS", "BASHPID",
     "DIRSTACK", "FUNCNAME", "OPTIND", "OPTARG", "_")
)  # fmt: skip
"""Variables that change what commands do, or that the shell changes itself."""

_STARTED = frozenset(("PAGER", "EDITOR", "VISUAL", "GIT_PAGER", "GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "MANPAGER"))


def _changes_meaning(name: str, value: str | None) -> bool:
    """Whether commands may do something else once this variable has this value."""
    if name in _STARTED:
        return value not in ("", ":", "true", "cat", "less")
    if name.startswith("GIT_"):
        return not name.startswith(("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_TERMINAL_PROMPT"))
    return name in _MEANING or name.startswith(("LD_", "DYLD_", "BASH_FUNC"))


class Words:
    """Makes fields of words; ``walk`` goes along the commands in them, ``doubt`` hears of what is not known."""

    __slots__ = ("budget", "doubt", "home", "walk")

    def __init__(
        self, home: str, budget: Budget, walk: Callable[[Body, Surroundings], None], doubt: Callable[[], None]
    ) -> None:
        self.home, self.budget, self.walk, self.doubt = home, budget, walk, doubt

    def fields(self, word: Word, place: Surroundings) -> list[str]:
        """What a word becomes: any number of fields, in which `HOLE` is unknown and "\\1 \\2 \\3" are ``* ? [``."""
        return [field for one in braces(word, self.budget) for field in self.expand(one, place)]

    def text(self, word: Word, place: Surroundings) -> str:
        """A word as one text, in which nothing is a pattern."""
        return "".join(self.expand(word, place, split=False))

    def expand(self, word: Word, place: Surroundings, split: bool = True) -> list[str]:
        """The fields of one word; without ``split`` they are pieces of one text."""
        out: list[str] = []
        now: str | None = None
        for at, (kind, value, quoted) in enumerate(word):
            if kind == "t":
                text = value if quoted or not split else value.translate(_WILD)
                if not at and not quoted and text.startswith("~") and ("/" in text or len(word) == 1):
                    user, slash, rest = text.partition("/")
                    text = ((self.lookup("HOME", place) if user == "~" else None) or HOLE) + slash + rest
                now = (now or "") + text
            elif (kind, value, quoted, split) == ("v", "@", True, True) and place.args is not None:
                for other, one in enumerate(place.args[1:]):
                    if other:
                        out.append(now or "")
                    now = one if other else (now or "") + one
            else:
                found = self._value(kind, value, place)
                text = HOLE if found is None else found
                self.budget.spend(len(text))
                if quoted or not split:
                    now = (now or "") + text
                else:
                    now = self._split(text.translate(_WILD), now, out)
        return out if now is None else [*out, now]

    def _split(self, text: str, now: str | None, out: list[str]) -> str | None:
        """The fields of an unquoted value go to ``out``, but the last, which is given back."""
        pieces = text.split()
        if pieces != [text] and text:
            self.doubt()  # zsh keeps them together
        if not pieces:
            return now
        pieces[0] = (now or "") + pieces[0]
        out.extend(pieces[:-1])
        return pieces[-1]

    def lookup(self, name: str, place: Surroundings) -> str | None:
        """The value of a variable, if it is known."""
        if name in place.values:
            return place.values[name]
        if name == "PWD":
            if not place.sure:
                self.doubt()
            return place.cwd
        if name == "HOME":
            return self.home or None
        if place.args is None:
            return None
        if name == "#":
            return str(len(place.args) - 1)
        if name in ("@", "*"):
            return " ".join(place.args[1:])
        if name.isdigit() and name.isascii() and len(name) < 4:
            return place.args[int(name)] if int(name) < len(place.args) else ""
        return None

    def set(self, place: Surroundings, name: str, value: str | None) -> None:
        """A variable's value; some change what commands mean, some would be run by arithmetic."""
        if _changes_meaning(name, value) or (value and ("$(" in value or "`" in value)):
            self.doubt()
        place.values[name] = None if value is None or HOLE in value else value

    def assign(self, place: Surroundings, name: str, word: Word) -> None:
        """Do what ``NAME=…`` does; the name as `assigned` gives it."""
        value: str | None = self.text([("t", word[0][1].partition("=")[2], False), *word[1:]], place)
        plain = name.rstrip("[+")
        if name.endswith("+"):
            old = self.lookup(plain, place)
            value = None if old is None else f"{old}{value}"
        self.set(place, plain, None if name.endswith("[") else value)

    def _value(self, kind: str, value: Any, place: Surroundings) -> str | None:
        """What a part that is no text stands for, if it is known; commands in it are walked."""
        self.budget.spend(2)
        if kind == "v":
            return self.lookup(value, place)
        if kind == "x":
            return self._output(value, place)
        if kind == "p":
            self.walk(value, place.copy())
            return "/dev/fd/63"
        if kind == "a":
            if "=" in value or "++" in value or "--" in value:
                for name in "".join(letter if letter in LETTERS else " " for letter in value).split():
                    self.set(place, name, None)
            return None
        name, operator, inside = value
        self.expand(inside, place, split=False)
        if operator == ":=" or operator[:1] == "=":
            place.values[name] = None
        return (self.lookup(name, place) or None) if operator[:1] == "-" or operator == ":-" else None

    def _output(self, body: Body, place: Surroundings) -> str | None:
        """What commands print, where it is plain: ``pwd``, and ``echo`` of what is known."""
        self.walk(body, place.copy())
        if len(body) != 1 or len(body[0][0]) != 1 or len(body[0][0][0][1]) != 1:
            return None
        node = body[0][0][0][1][0]
        parts = [kind for word in node.words for kind, _, _ in word]
        if node.kind != "simple" or node.redirs or node.assigns or not {"t", "v"}.issuperset(parts):
            return None
        name, *args = [field for word in node.words for field in self.fields(word, place)] or [""]
        if name in place.functions or any("\\" in one or not is_plain(one) or one[:1] == "-" for one in args):
            return None
        if name == "pwd" and not args:
            return self.lookup("PWD", place) if "PWD" not in place.values else place.cwd
        return " ".join(args).rstrip("\n") if name == "echo" else None

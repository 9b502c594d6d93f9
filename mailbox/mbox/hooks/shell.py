"""A careful reading of a shell command line: which files it would write, by its words.  Nothing is run, no disk is touched.

Promised: `read` never raises and takes well under a second, whatever it is given.  Where ``certain`` is true, every file of
a work tree that the line writes, moves or removes stands in ``writes`` or below one of ``trees``, provided that the programs it
names are what their names say and that repositories' own hooks and filters write nothing.  ``writes`` may name more than a run
changes: both ways of an ``if``, what a failed ``&&`` would have skipped.  Folders that are made are no writes.
Not promised: that all is found where ``certain`` is false; whoever asks looks at the disk afterwards.  Symlinks are not
followed.  Variables of the environment but ``HOME`` and ``PWD`` are unknown.

In the order of the file: what is given back; syntax, from text to nodes; words, from nodes to fields; the walk along the
commands; what each program writes.  It may import only what costs nothing (it runs before every shell call of an agent).
"""

from __future__ import annotations

import posixpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Part = tuple[str, Any, bool]
    """A piece of a word: its kind, what it is of, whether quotes stand around it.

    ``t`` a text; ``v`` a variable's name; ``x`` commands whose output it is; ``p`` commands behind a pipe's name; ``u`` what is
    not known, of (name, operator, parts inside that may run commands).
    """
    Word = list[Part]
    Chain = tuple[list[tuple[str, list["Clause"]]], bool]
    """Pipelines, each with the ``&&`` or ``||`` before it; whether the chain runs in the background."""
    Body = list[Chain]
    Options = list[tuple[str, str]]
    Handler = Callable[["Walker", list[str], "Surroundings", str | None], None]

STEPS = 250_000
"""What reading may cost, in letters looked at: about a third of a second."""

DEEPEST = 20
"""Levels of nesting that are read; Python's own stack must hold them."""

MOST = 4096
"""Writes that are listed."""

HOLE = "\0"
"""Stands in a field for what cannot be known; no argument of a program holds this letter."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WILD = {ord("*"): "\1", ord("?"): "\2", ord("["): "\3"}
_TAME = {1: "*", 2: "?", 3: "[", 0: "$"}
_SPECIAL = frozenset(" \t\n|&;()<>\\'\"$`")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


class Reading:
    """What a line would do, as far as its words tell.

    ``writes``: absolute, lexically normalised paths.  ``trees``: those of them below which everything is meant.  ``removed``:
    what ``rm -r`` is given, a pattern as it stands.  ``patches``: folder and text of each ``apply_patch``.  ``commands``: every
    command that is started, as words, wrappers (``sudo``, ``sh -c``) both as they stand and peeled; ``$`` is what is unknown.
    """

    __slots__ = ("certain", "commands", "patches", "removed", "trees", "writes")

    def __init__(self) -> None:
        self.writes: list[str] = []
        self.patches: list[tuple[str, str]] = []
        self.trees: list[str] = []
        self.removed: list[str] = []
        self.commands: list[list[str]] = []
        self.certain = True


def read(line: str, cwd: str, home: str, is_folder: Callable[[str], bool] | None = None) -> Reading:
    """What ``line``, run by bash in ``cwd``, would write.

    ``is_folder`` tells ``mv a folder`` from ``mv a file``; without it both readings stand in ``writes``.
    """
    walker = Walker(home, is_folder)
    clean = line
    for letter in "\0\1\2\3":
        if letter in clean:
            clean = clean.replace(letter, HOLE)
            walker.doubt()
    try:
        walker.script(clean, Surroundings(posixpath.normpath(cwd) if cwd.startswith("/") else None))
    except (Unread, RecursionError):
        walker.doubt()
    return walker.reading


class Unread(Exception):
    """The rest is not read: no shell syntax known here, too deep, or too much."""


class Budget:
    """What is left of the steps and of the depth."""

    __slots__ = ("depth", "left")

    def __init__(self) -> None:
        self.left, self.depth = STEPS, 0

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise Unread

    def down(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unread

    def up(self) -> None:
        self.depth -= 1


# -- syntax ----------------------------------------------------------------------------------------------------------

_RESERVED = _words("{ } ! [[ if then elif else fi while until do done for select case esac function time coproc")
_REDIRECTIONS = ("<<<", "<<-", "&>>", "<<", "<&", "<>", "&>", ">>", ">|", ">&", "<", ">")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\033", "E": "\033", "f": "\f", "v": "\v"}


class Redirection:
    """``op``, the number or ``{name}`` before it, the word behind it; of a here-document, its text as a word."""

    __slots__ = ("before", "op", "word")

    def __init__(self, op: str, word: Word, before: str) -> None:
        self.op, self.word, self.before = op, word, before


class Clause:
    """A command: ``simple``, ``group``, ``subshell``, ``if``, ``loop``, ``case``, ``function`` or ``test``.

    ``bodies``: of ``if``, condition and body by turns, and maybe the last; of ``loop``, all that is repeated.
    """

    __slots__ = ("assigns", "bodies", "kind", "name", "redirs", "words")

    def __init__(self, kind: str, bodies: Iterable[Body] = (), words: Iterable[Word] = (), name: str = "") -> None:
        self.kind, self.name = kind, name
        self.bodies, self.words = list(bodies), list(words)
        self.redirs: list[Redirection] = []
        self.assigns: list[tuple[str, Word]] = []


class Parser:
    """Reads commands from a text; `Unread` where it is none that is known."""

    __slots__ = ("at", "budget", "docs", "end", "negated", "text")

    def __init__(self, text: str, budget: Budget) -> None:
        self.text, self.at, self.end, self.budget = text, 0, len(text), budget
        self.docs: list[tuple[Redirection, str, bool, bool]] = []
        self.negated = False

    def peek(self, letters: int = 1) -> str:
        return self.text[self.at : self.at + letters]

    def blanks(self) -> None:
        text = self.text
        while self.at < self.end:
            letter = text[self.at]
            if letter in " \t":
                self.at += 1
            elif letter == "\\" and self.peek(2) == "\\\n":
                self.at += 2
            elif letter == "#":
                found = text.find("\n", self.at)
                self.at = self.end if found < 0 else found
            else:
                return
            self.budget.spend(1)

    def newlines(self) -> None:
        self.blanks()
        while self.peek() == "\n":
            self.budget.spend(1)
            self.at += 1
            docs, self.docs = self.docs, []
            for doc in docs:
                self._document(*doc)
            self.blanks()

    def _document(self, redirection: Redirection, delimiter: str, quoted: bool, tabs: bool) -> None:
        """The here-document that begins here: up to the line that is its delimiter, or the end."""
        lines: list[str] = []
        joined = False
        while self.at < self.end:
            self.budget.spend(1)
            found = self.text.find("\n", self.at)
            line = self.text[self.at : self.end if found < 0 else found]
            self.at = self.end if found < 0 else found + 1
            line = line.lstrip("\t") if tabs else line
            if line == delimiter and not joined:
                break
            lines.append(line)
            joined = not quoted and (len(line) - len(line.rstrip("\\"))) % 2 == 1
        text = "".join(f"{line}\n" for line in lines)
        if quoted or not ("$" in text or "`" in text or "\\" in text):
            redirection.word = [("t", text, True)]
        else:
            redirection.word = Parser(text, self.budget).quoted("")

    def keyword(self) -> str:
        """The reserved word that stands here, or nothing; it is not taken."""
        at = self.at
        while at < self.end and at - self.at < 10 and self.text[at] not in _SPECIAL:
            at += 1
        word = self.text[self.at : at]
        if word not in _RESERVED or self.text[at : at + 1] in tuple("\\'\"$`"):
            return ""
        return word

    def expect(self, word: str) -> None:
        self.newlines()
        if self.peek(len(word)) != word or (word in _RESERVED and self.keyword() != word):
            raise Unread
        self.at += len(word)

    def line(self) -> Body:
        """The commands of the next line of a script that is not empty, with its here-documents; none at the end."""
        self.newlines()
        found: Body = []
        while self.at < self.end and self.peek() != "\n":
            found.append(self.chain())
            ended = self.text[self.at - 1 : self.at] in (";", "&")
            self.blanks()
            if not ended and self.peek() not in ("", "\n"):
                raise Unread
        self.newlines()
        return found

    def body(self, *stops: str) -> Body:
        """Commands up to a ``)``, a ``;;``, the end, or one of the reserved words ``stops``."""
        self.budget.down()
        found: Body = []
        while True:
            self.newlines()
            if self.at >= self.end or self.peek() in ");" or self.keyword() in stops:
                self.budget.up()
                return found
            found.append(self.chain())

    def chain(self) -> Chain:
        items = [("", self.pipeline())]
        if self.negated:
            items.insert(0, ("", [Clause("group")]))  # a failure of what is negated ends no script
        while True:
            self.blanks()
            two = self.peek(2)
            if two in ("&&", "||"):
                self.at += 2
                self.newlines()
                items.append((two, self.pipeline()))
            elif two[:1] == "&" or (two[:1] == ";" and two not in (";;", ";&")):
                self.at += 1
                return items, two[0] == "&"
            else:
                return items, False

    def pipeline(self) -> list[Clause]:
        nodes: list[Clause] = []
        self.negated = False
        negated = False
        while True:
            self.blanks()
            word = self.keyword()
            while word in ("!", "time", "coproc") and word:
                self.at += len(word)
                self.blanks()
                negated = negated or word == "!"
                if word == "time" and self.peek(3).rstrip() == "-p":
                    self.at += 2
                    self.blanks()
                if word == "coproc":
                    nodes.append(Clause("group"))  # it runs in a subshell, as the parts of a pipeline do
                word = self.keyword()
            nodes.append(self.command())
            self.blanks()
            if self.peek() != "|" or self.peek(2) == "||":
                self.negated = negated
                return nodes
            self.at += 2 if self.peek(2) == "|&" else 1
            self.newlines()

    def command(self) -> Clause:
        self.budget.spend(4)
        self.budget.down()
        node = self._compound()
        if node is None:
            node = self.simple()
        elif node.kind != "function":
            self.blanks()
            while self.redirects():
                node.redirs.append(self.redirection())
                self.blanks()
        self.budget.up()
        return node

    def _compound(self) -> Clause | None:
        word = self.keyword()
        if self.peek(2) == "((":
            inside = self._sum(2)
            if inside is not None:
                return Clause("test", words=[inside])
        if self.peek() == "(":
            self.at += 1
            node = Clause("subshell", [self.body()])
            self.expect(")")
            return node
        if not word:
            return None
        self.at += len(word)
        if word == "{":
            node = Clause("group", [self.body("}")])
            self.expect("}")
            return node
        if word == "if":
            return self._if()
        if word in ("while", "until"):
            return self._do([self.body("do")])
        if word in ("for", "select"):
            return self._for()
        if word == "case":
            return self._case()
        if word == "[[":
            return self._test()
        if word == "function":
            self.blanks()
            return self._function(literal(self.word()))
        raise Unread

    def _if(self) -> Clause:
        bodies = [self.body("then")]
        self.expect("then")
        while True:
            bodies.append(self.body("elif", "else", "fi"))
            word = self.keyword()
            self.at += len(word)
            if word == "fi":
                return Clause("if", bodies)
            if word == "elif":
                bodies.append(self.body("then"))
                self.expect("then")
            elif word != "else" or len(bodies) % 2:
                raise Unread

    def _do(self, bodies: list[Body], words: Iterable[Word] = (), name: str = "") -> Clause:
        self.newlines()
        braces = name and self.keyword() == "{"
        self.expect("{" if braces else "do")
        bodies.append(self.body("}" if braces else "done"))
        self.expect("}" if braces else "done")
        return Clause("loop", bodies, words, name)

    def _for(self) -> Clause:
        self.blanks()
        if self.peek(2) == "((":
            inside = self._sum(2)
            if inside is None:
                raise Unread
            self.blanks()
            self.at += self.peek() == ";"
            return self._do([[([("", [Clause("test", words=[inside])])], False)]], name=" ")
        name = literal(self.word())
        self.newlines()
        words: list[Word] = [[("v", "@", True)]]
        if self.peek(2) == "in":
            self.at += 2
            words = []
            self.blanks()
            while self.peek() not in (";", "\n", ""):
                words.append(self.taken())
                self.blanks()
        self.at += self.peek() == ";"
        return self._do([], words, name)

    def _case(self) -> Clause:
        self.blanks()
        node = Clause("case", words=[self.taken()])
        self.expect("in")
        while True:
            self.newlines()
            if self.keyword() == "esac":
                self.at += 4
                return node
            self.at += self.peek() == "("
            self.blanks()
            while self.peek() != ")":
                node.words.append(self.taken())
                self.blanks()
                self.at += self.peek() == "|"
                self.blanks()
            self.at += 1
            node.bodies.append(self.body("esac"))
            if self.peek() == ";":
                node.name = "on" if self.peek(2) == ";&" or self.peek(3) == ";;&" else node.name
                self.at += 3 if self.peek(3) == ";;&" else 2
            elif self.keyword() != "esac":
                raise Unread

    def _test(self) -> Clause:
        node = Clause("test")
        while True:
            self.newlines()
            if self.at >= self.end:
                raise Unread
            if self.peek(2) == "]]":
                self.at += 2
                return node
            if self.peek() in "()<>&|;":
                self.at += 1
            else:
                node.words.append(self.taken())

    def _function(self, name: str) -> Clause:
        self.blanks()
        if self.peek() == "(":
            self.at += 1
            self.expect(")")
        self.newlines()
        return Clause("function", [[([("", [self.command()])], False)]], name=name)

    def simple(self) -> Clause:
        node = Clause("simple")
        while True:
            self.blanks()
            letter = self.peek()
            if self.redirects():
                node.redirs.append(self.redirection())
            elif letter in ("", "\n", ";", "&", "|", ")"):
                break
            elif letter == "(":
                if len(node.words) != 1 or node.redirs or node.assigns:
                    raise Unread
                return self._function(literal(node.words[0]))
            else:
                word = self.taken()
                name = "" if node.words else assigned(word)
                if name:
                    node.assigns.append((name, word))
                else:
                    node.words.append(word)
        if not (node.words or node.redirs or node.assigns):
            raise Unread
        return node

    def redirects(self) -> bool:
        """Whether a redirection stands here, with its number or its ``{name}``."""
        at = self.at
        while at < self.end and at - self.at < 10 and self.text[at].isdigit():
            at += 1
        if at == self.at and self.peek() == "{":
            found = self.text.find("}", at, at + 60)
            if found > 0 and _NAME.issuperset(self.text[at + 1 : found]):
                at = found + 1
        two = self.text[at : at + 2]
        return two not in ("<(", ">(") and (two[:1] in ("<", ">") or (two == "&>" and at == self.at))

    def redirection(self) -> Redirection:
        start = self.at
        while self.peek() not in "<>&":
            self.at += 1
        before = self.text[start : self.at]
        op = next(one for one in _REDIRECTIONS if self.text.startswith(one, self.at))
        self.at += len(op)
        self.blanks()
        if op not in ("<<", "<<-"):
            return Redirection(op, self.taken(), before)
        start = self.at
        raw: list[str] = []
        while self.at < self.end and self.peek() not in " \t\n|&;()<>":
            letter = self.peek()
            self.at += 1
            if letter in "'\"":
                found = self.text.find(letter, self.at)
                if found < 0:
                    raise Unread
                letter, self.at = self.text[self.at : found], found + 1
            elif letter == "\\":
                letter, self.at = self.peek(), self.at + 1
            raw.append(letter)
        written = self.text[start : self.at]
        if not written or "$'" in written or "`" in written or "$(" in written:
            raise Unread
        made = Redirection("<<", [], before)
        self.docs.append((made, "".join(raw), any(mark in written for mark in "\\'\""), op == "<<-"))
        return made

    def taken(self) -> Word:
        """A word that must be there."""
        start = self.at
        word = self.word()
        if self.at == start:
            raise Unread
        return word

    def word(self) -> Word:
        parts: Word = []
        text, start = self.text, self.at
        self.budget.spend(8)
        while self.at < self.end:
            letter = text[self.at]
            if letter not in _SPECIAL:
                begin = self.at
                while self.at < self.end and text[self.at] not in _SPECIAL:
                    self.at += 1
                self.budget.spend(self.at - begin)
                parts.append(("t", text[begin : self.at], False))
            elif letter in "\\'\"$`":
                self._mark(parts, letter)
            elif letter in "<>" and self.peek(2)[1:] == "(":
                self.at += 2
                parts.append(("p", self._inside(), True))
            elif letter == "(" and self.at > start and parts and assigned(parts) and parts[-1][1][-1:] == "=":
                parts.append(("u", ("", "", self._array()), False))
            elif letter == "(" and self.at > start and not parts[-1][2] and str(parts[-1][1])[-1:] in tuple("?*+@!"):
                raise Unread
            else:
                break
        return parts

    def _array(self) -> Word:
        self.at += 1
        inside: Word = []
        while True:
            self.newlines()
            if self.peek() == ")":
                self.at += 1
                return inside
            inside += self.taken()

    def _mark(self, parts: Word, letter: str) -> None:
        """What a backslash, a quote, a ``$`` or a backtick begins, outside of double quotes."""
        two = self.peek(2)
        if letter == "\\":
            self.at = min(self.at + 2, self.end)
            if two != "\\\n":
                parts.append(("t", two[1:] or "\\", True))
        elif letter == "'":
            found = self.text.find("'", self.at + 1)
            if found < 0:
                raise Unread
            parts.append(("t", self.text[self.at + 1 : found], True))
            self.at = found + 1
        elif letter == '"' or two == '$"':
            self.at += 1 if letter == '"' else 2
            inside = self.quoted('"')
            self.at += 1
            parts.extend(inside or [("t", "", True)])
        elif two == "$'":
            parts.append(("t", self._escaped(), True))
        else:
            parts.append(self._dollar(False) if letter == "$" else self._backtick(False))

    def quoted(self, stop: str) -> Word:
        """What stands here up to the letter ``stop`` (to the end, if it is empty), with substitutions alone."""
        parts: Word = []
        run: list[str] = []
        text = self.text
        marks = frozenset(f"\\$`{stop}")
        while self.at < self.end:
            begin = self.at
            while self.at < self.end and text[self.at] not in marks:
                self.at += 1
            self.budget.spend(self.at - begin + 1)
            run.append(text[begin : self.at])
            letter = self.peek()
            if not letter or letter == stop:
                break
            if letter == "\\":
                two = self.peek(2)
                self.at = min(self.at + 2, self.end)
                run.append("" if two == "\\\n" else two[1:] if two[1:] in tuple(f"\\$`{stop}") else two)
                continue
            parts.append(("t", "".join(run), True))
            run.clear()
            parts.append(self._dollar(True) if letter == "$" else self._backtick(True))
        if stop and self.at >= self.end:
            raise Unread
        return [*parts, ("t", "".join(run), True)]

    def _escaped(self) -> str:
        """A ``$'…'``."""
        self.at += 2
        out: list[str] = []
        while True:
            self.budget.spend(1)
            letter = self.peek()
            self.at += 1
            if letter == "'":
                return "".join(out)
            if not letter:
                raise Unread
            if letter != "\\":
                out.append(letter)
                continue
            letter = self.peek()
            self.at += 1
            most, base = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}.get(letter, (0, 0))
            if letter in tuple("01234567"):
                most, base, self.at = 3, 8, self.at - 1
            digits = self.peek(most)
            while digits and not set(digits.lower()) <= set("0123456789abcdef"[:base]):
                digits = digits[:-1]
            self.at += len(digits)
            if digits:
                value = int(digits, base)
                out.append(chr(value) if 3 < value < (128 if letter not in "uU" else 0xD800) else HOLE)
            else:
                out.append(
                    HOLE if letter == "c" else _ESCAPES.get(letter, letter if letter in "\\'\"?" else f"\\{letter}")
                )

    def _inside(self) -> Body:
        """Commands up to the ``)`` that closes them."""
        body = self.body()
        self.expect(")")
        return body

    def _dollar(self, quoted: bool) -> Part:
        two, three = self.peek(2), self.peek(3)
        if three == "$((":
            inside = self._sum(3)
            if inside is not None:
                return "u", ("", "", inside), quoted
        if two == "$(":
            self.at += 2
            return "x", self._inside(), quoted
        if two == "${":
            return self._parameter(quoted)
        if two == "$[":
            raise Unread
        self.at += 1
        start = self.at
        if two[1:] in _NAME and not two[1:].isdigit():
            while self.at < self.end and self.text[self.at] in _NAME:
                self.at += 1
            return "v", self.text[start : self.at], quoted
        if two[1:] and (two[1:].isdigit() or two[1:] in "@*#?-$!"):
            self.at += 1
            return "v", two[1:], quoted
        return "t", "$", True

    def _parameter(self, quoted: bool) -> Part:
        self.at += 2
        start = self.at
        while self.at < self.end and self.text[self.at] in _NAME:
            self.at += 1
        name = self.text[start : self.at]
        if not name and self.peek() in ("@", "*", "?", "$", "-"):
            name, self.at = self.peek(), self.at + 1
        if name and self.peek() == "}":
            self.at += 1
            return "v", name, quoted
        if not name and self.peek() in ("", " ", "\t", "\n", "|"):
            raise Unread  # commands of bash 5.3 whose output it is
        operator = self.peek(2)
        return "u", (name, operator, self._within("}")), quoted

    def _within(self, stop: str) -> Word:
        """The parts that may run commands, up to the letter ``stop``, which is taken."""
        self.budget.down()
        parts: Word = []
        while True:
            self.budget.spend(1)
            letter = self.peek()
            if not letter:
                raise Unread
            if letter == stop:
                self.at += 1
                self.budget.up()
                return parts
            if letter in "\\'\"$`":
                self._mark(parts, letter)
            else:
                self.at += 1

    def _sum(self, opened: int) -> Word | None:
        """The parts of an arithmetic expression that may run commands or change variables; nothing if it is none."""
        start, depth = self.at, 0
        parts: Word = []
        self.at += opened
        self.budget.down()
        begin = self.at
        while self.at < self.end:
            self.budget.spend(1)
            letter = self.peek()
            if letter == ")" and not depth:
                break
            depth += (letter == "(") - (letter == ")")
            if letter in '\\"$`':
                self._mark(parts, letter)
            else:
                self.at += 1
        self.budget.up()
        if self.peek(2) != "))":
            self.at = start
            return None
        parts.append(("u", ("", "((", [("t", self.text[begin : self.at], True)]), True))
        self.at += 2
        return parts

    def _backtick(self, quoted: bool) -> Part:
        self.at += 1
        out: list[str] = []
        while True:
            self.budget.spend(1)
            letter = self.peek()
            self.at += 1
            if not letter:
                raise Unread
            if letter == "`":
                break
            if letter == "\\" and self.peek() in ("`", "\\", "$", *('"' * quoted)):
                letter = self.peek()
                self.at += 1
            out.append(letter)
        inner = Parser("".join(out), self.budget)
        body = inner.body()
        if inner.at < inner.end:
            raise Unread
        return "x", body, quoted


def literal(word: Word) -> str:
    """The text of a word that is nothing but a text; `Unread` for another."""
    if not word or any(kind != "t" for kind, _, _ in word):
        raise Unread
    return "".join(str(text) for _, text, _ in word)


def assigned(word: Word) -> str:
    """The name of the variable that a word gives a value, ``+`` behind it where it adds, ``[`` an element; or nothing."""
    kind, text, quoted = word[0]
    if kind != "t" or quoted:
        return ""
    name, equals, _ = text.partition("=")
    if not equals:
        name, bracket, _ = text.partition("[")
        known = bracket and any(part[0] == "t" and not part[2] and "]=" in part[1] for part in word)
        return f"{name}[" if known and _NAME.issuperset(name) and name[:1] and not name[0].isdigit() else ""
    plain = name.partition("[")[0] if name.endswith(("]", "]+")) else name.removesuffix("+")
    if not plain or plain[0].isdigit() or not _NAME.issuperset(plain):
        return ""
    return str(plain + ("[" if "[" in name else "+" if name.endswith("+") else ""))


# -- words -----------------------------------------------------------------------------------------------------------


def braces(word: Word, budget: Budget) -> list[Word]:
    """The words that ``{a,b}`` and ``{1..3}`` make of one."""
    done: list[Word] = []
    waiting = [word]
    while waiting:
        one = waiting.pop()
        budget.spend(1 + len(one))
        found = _alternatives(one)
        if found is None:
            done.append(one)
        else:
            before, choices, after = found
            waiting.extend([*before, *choice, *after] for choice in reversed(choices))
        if len(waiting) + len(done) > 256:
            raise Unread
    return done


def _alternatives(word: Word) -> tuple[Word, list[Word], Word] | None:
    """What stands before the first brace expression, its choices, what stands behind; nothing if there is none."""
    if not any(kind == "t" and not quoted and "{" in text for kind, text, quoted in word):
        return None
    items: Word = []
    for part in word:
        items.extend([("t", letter, False) for letter in part[1]] if part[0] == "t" and not part[2] else [part])
    marks = [part[1] if part[0] == "t" and not part[2] else "" for part in items]
    stack: list[tuple[int, list[int]]] = []
    best: tuple[int, list[int], int] | None = None
    for at, mark in enumerate(marks):
        if mark == "{":
            stack.append((at, []))
        elif mark == "," and stack:
            stack[-1][1].append(at)
        elif mark == "}" and stack:
            start, commas = stack.pop()
            inside = "".join(marks[start + 1 : at])
            if (commas or ".." in inside) and (best is None or start < best[0]):
                best = start, commas, at
    if best is None:
        return None
    start, commas, end = best
    before, after = _joined(items[:start]), _joined(items[end + 1 :])
    if commas:
        edges = [start, *commas, end]
        return before, [_joined(items[edges[n] + 1 : edges[n + 1]]) for n in range(len(edges) - 1)], after
    counted = _counted("".join(marks[start + 1 : end]))
    return None if counted is None else (before, [[("t", one, False)] for one in counted], after)


def _joined(items: Word) -> Word:
    """A word in as few parts as it has."""
    out: Word = []
    for part in items:
        if out and part[0] == "t" and out[-1][0] == "t" and part[2] == out[-1][2]:
            out[-1] = ("t", out[-1][1] + part[1], part[2])
        else:
            out.append(part)
    return out


def _counted(text: str) -> list[str] | None:
    """The members of ``1..3`` or ``a..e``; nothing if it is no such range, what is not known if it is a long one."""
    ends = text.split("..")
    if len(ends) != 2:
        return [HOLE] if len(ends) == 3 else None
    first, last = ends
    if len(first) == len(last) == 1 and first.isalpha() and last.isalpha():
        a, b, make = ord(first), ord(last), chr
    elif all(one.lstrip("-").isdecimal() and one.isascii() and len(one) < 9 for one in ends):
        if any(one.lstrip("-")[:1] == "0" and one != "0" for one in ends):
            return [HOLE]
        a, b, make = int(first), int(last), str
    else:
        return None
    if abs(a - b) > 200:
        raise Unread
    return [str(make(one)) for one in (range(a, b + 1) if a <= b else range(a, b - 1, -1))]


def tame(field: str) -> str:
    """A field as a program would get it if no file matched; ``$`` for what is not known."""
    return field.translate(_TAME)


class Surroundings:
    """Where a command stands: its folder, and what variables, functions and arguments mean there.

    ``sure``: it is there even if an earlier ``cd`` failed.  A value that is not known is None.
    """

    __slots__ = ("args", "cwd", "errexit", "exported", "folders", "functions", "stack", "sure", "values")

    def __init__(self, cwd: str | None) -> None:
        self.cwd, self.sure, self.errexit = cwd, True, False
        self.values: dict[str, str | None] = {}
        self.functions: dict[str, Clause] = {}
        self.args: list[str] | None = None
        self.stack: list[str | None] = []
        self.exported: set[str] = set()
        self.folders: dict[str, bool | None] = {}

    def copy(self) -> Surroundings:
        """The same for a subshell."""
        made = Surroundings(None)
        self.give(made)
        return made

    def give(self, other: Surroundings) -> None:
        """Make ``other`` mean the same."""
        other.cwd, other.sure, other.errexit = self.cwd, self.sure, self.errexit
        other.values, other.functions = dict(self.values), dict(self.functions)
        other.args, other.stack = self.args, list(self.stack)
        other.exported, other.folders = set(self.exported), dict(self.folders)

    def outside(self) -> Surroundings:
        """The same for another program: it has no functions, and of the variables those that are exported."""
        made = self.copy()
        made.functions = {}
        made.values = {name: value if name in {*self.exported, "HOME"} else None for name, value in made.values.items()}
        return made

    def same(self, other: Surroundings) -> bool:
        mine = (self.cwd, self.values, self.functions, self.args, self.folders)
        return mine == (other.cwd, other.values, other.functions, other.args, other.folders)

    def merge(self, other: Surroundings) -> None:
        """After one of two ways: what differs is not known."""
        if self.cwd != other.cwd:
            self.cwd = None
        self.sure = self.sure and other.sure
        for name in self.values.keys() | other.values.keys():
            if self.values.get(name) != other.values.get(name):
                self.values[name] = None
        for full in self.folders.keys() | other.folders.keys():
            if self.folders.get(full) != other.folders.get(full):
                self.folders[full] = None
        for name, function in other.functions.items():
            mine = self.functions.get(name, function)
            if mine is not function:
                mine = Clause("function", [*mine.bodies, *(one for one in function.bodies if one not in mine.bodies)])
            self.functions[name] = mine
        self.exported &= other.exported
        if self.args != other.args:
            self.args = None


# -- the walk --------------------------------------------------------------------------------------------------------

_QUIET = _words("/dev/null /dev/stdin /dev/stdout /dev/stderr /dev/tty /dev/full /dev/zero /dev/console")
_SYSTEM = _words("/bin /usr/bin /usr/local/bin /sbin /usr/sbin /opt/homebrew/bin /run/current-system/sw/bin")


class Walker:
    """Goes along the commands of a line and notes what they write."""

    __slots__ = ("_is_folder", "_links", "_seen", "budget", "calls", "home", "lax", "locals", "reading")

    def __init__(self, home: str, is_folder: Callable[[str], bool] | None) -> None:
        self.reading, self.budget, self.home, self.calls = Reading(), Budget(), home, 0
        self._is_folder = is_folder
        self.lax = 0
        self.locals: list[set[str]] = []
        self._links: list[str] = []
        self._seen: set[tuple[str, str]] = set()

    def doubt(self) -> None:
        """Something here is not known."""
        self.reading.certain = False

    # -- commands --

    def script(self, text: str, place: Surroundings) -> None:
        """A text of commands; where one cannot be read, those before it count."""
        parser = Parser(text, self.budget)
        self.budget.down()
        depth = self.budget.depth
        try:
            while body := parser.line():
                self.body(body, place)
        except Unread:
            self.doubt()
        self.budget.depth = depth
        self.budget.up()

    def body(self, body: Body, place: Surroundings) -> None:
        """Commands in a row, in one place."""
        self.budget.down()
        for items, background in body:
            self._chain(items, place.copy() if background else place)
        self.budget.up()

    def _chain(self, items: list[tuple[str, list[Clause]]], place: Surroundings) -> None:
        """Pipelines with ``&&`` and ``||``: each is taken to succeed, but what fails must not lead elsewhere unseen."""
        start = place.copy()
        first = start
        guarded = place.errexit and not self.lax and len(items) == 1
        self.lax += len(items) > 1
        for at, (op, nodes) in enumerate(items):
            if op == "||":
                guarded = _leaves(nodes, place)
                other = start.copy()
                if not (at == 1 and _goes(items[0][1], place)):
                    other = place.copy()
                    other.merge(start)
                self._pipeline(nodes, other)
                if not guarded:
                    self._merge_values(place, other)
            else:
                guarded = guarded and not at
                self._pipeline(nodes, place)
            first = place.copy() if not at else first
        self.lax -= len(items) > 1
        if len(items) > 1:
            self._merge_values(place, first)
        if (place.cwd != start.cwd or not start.sure) and not guarded:
            place.sure = False

    def _merge_values(self, place: Surroundings, other: Surroundings) -> None:
        """What differs is not known any more, but for the folder: ``sure`` says that."""
        cwd, sure = place.cwd, place.sure
        place.merge(other)
        place.cwd, place.sure = cwd, sure

    def _pipeline(self, nodes: list[Clause], place: Surroundings) -> None:
        for node in nodes:
            self.node(node, place if len(nodes) == 1 else place.copy())

    def node(self, node: Clause, place: Surroundings) -> None:
        """One command, whatever its kind."""
        self.budget.spend(6 + len(place.values))
        if node.kind == "simple":
            self._simple(node, place)
            return
        if node.kind == "function":
            place.functions[node.name] = node
            return
        for redirection in node.redirs:
            self._redirect(redirection, place)
        if node.kind in ("group", "subshell"):
            for body in node.bodies:
                self.body(body, place if node.kind == "group" else place.copy())
        elif node.kind == "if":
            self._if(node, place)
        elif node.kind == "loop":
            self._loop(node, place)
        else:
            for word in node.words:
                self.fields(word, place)
            ways = [place.copy()]
            for body in node.bodies:
                before = place.copy()
                if node.name:
                    before.merge(ways[-1])
                ways.append(self._way(body, before))
            self._ways(ways, place)

    def _way(self, body: Body, place: Surroundings) -> Surroundings:
        other = place.copy()
        self.body(body, other)
        return other

    def _ways(self, ways: list[Surroundings], place: Surroundings) -> None:
        """Go on in ``place`` as one who came by one of ``ways``."""
        ways[0].give(place)
        for way in ways[1:]:
            place.merge(way)

    def _if(self, node: Clause, place: Surroundings) -> None:
        ways: list[Surroundings] = []
        for at in range(0, len(node.bodies) - 1, 2):
            self.lax += 1
            self.body(node.bodies[at], place)
            self.lax -= 1
            way = self._way(node.bodies[at + 1], place)
            if not _ends(node.bodies[at + 1], place):
                ways.append(way)
        ways.append(self._way(node.bodies[-1], place) if len(node.bodies) % 2 else place.copy())
        self._ways(ways, place)

    def _loop(self, node: Clause, place: Surroundings) -> None:
        items = [field for word in node.words for field in self.fields(word, place)]
        known = 0 < len(items) <= 32 and not any(field.translate(_TAME) != field for field in items)
        if known and node.words:
            count = len(self.reading.writes)
            ways: list[Surroundings] = []
            for item in items:
                place.values[node.name] = item
                self.body(node.bodies[0], place)
                ways.append(place.copy())
            self._ways(ways, place)
            if len(self.reading.writes) > count:
                self.doubt()
            return
        before = place.copy()
        for _ in range(2):
            if node.name:
                place.values[node.name] = None
            for at, body in enumerate(node.bodies):
                lax = not at and len(node.bodies) > 1
                self.lax += lax
                self.body(body, place)
                self.lax -= lax
            if place.same(before):
                return
            place.merge(before)
            before = place.copy()

    def _simple(self, node: Clause, place: Surroundings) -> None:
        fields = [field for word in node.words for field in self.fields(word, place)]
        inner = place.copy() if node.assigns and fields else place
        for name, word in node.assigns:
            self._assign(inner, name, word, bool(fields))
            if fields:
                inner.exported.add(name)
        stdin: str | None = None
        for redirection in node.redirs:
            text = self._redirect(redirection, place)
            if redirection.before in ("", "0") and redirection.op[0] == "<":
                stdin = text
        if fields:
            self.command(fields, inner, stdin)
            if inner is not place:
                place.cwd, place.sure, place.stack, place.folders = inner.cwd, inner.sure, inner.stack, inner.folders
                if fields[0] in ("eval", "unset", "set", "shift") or fields[0] in place.functions:
                    self.doubt()

    def _assign(self, place: Surroundings, name: str, word: Word, only_here: bool = False) -> None:
        """Give a variable its value; ``only_here``: for one command."""
        head = word[0][1].partition("=")[2]
        rest: Word = [("t", head, False), *word[1:]]
        value: str | None = "".join(self.expand(rest, place, split=False))
        plain = name.rstrip("[+")
        if name.endswith("+"):
            old = self.lookup(plain, place)
            value = None if old is None else f"{old}{value}"
        if name.endswith("[") or value is None or HOLE in value:
            value = None
        self.set(place, plain, value, only_here)

    def set(self, place: Surroundings, name: str, value: str | None, only_here: bool = False) -> None:
        """A variable's value; some change what commands mean."""
        if _changes_meaning(name, value) and not (only_here and name == "IFS"):
            self.doubt()
        if value and ("$(" in value or "`" in value):
            self.doubt()  # arithmetic would run it
        place.values[name] = value

    def _redirect(self, redirection: Redirection, place: Surroundings) -> str | None:
        """Note what a redirection writes; the text of a here-document, or None."""
        op = redirection.op
        if redirection.before[:1] == "{":
            self.set(place, redirection.before[1:-1], None)
        if op in ("<<", "<<<"):
            text = "".join(self.expand(redirection.word, place, split=False))
            return text if op == "<<" else f"{text}\n"
        fields = self.fields(redirection.word, place)
        if op in ("<", "<&"):
            return None
        target = fields[0] if len(fields) == 1 else HOLE
        if op == ">&" and (target.rstrip("-").isdigit() or target == "-"):
            return None
        if target == "!":
            self.doubt()
        self.write(place, target)
        return None

    def command(self, fields: list[str], place: Surroundings, stdin: str | None = None) -> None:
        """A command as fields: note it, and what its program writes."""
        self.budget.spend(10 + len(fields))
        self.budget.down()
        fields = ["[", *fields[1:]] if fields[0] == "\3" else fields
        self.reading.commands.append([tame(field) for field in fields])
        name = fields[0]
        folder, _, base = name.rpartition("/")
        if folder and folder not in _SYSTEM:
            self.doubt()
        if tame(name) != name or not base:
            self.doubt()
        elif name in place.functions:
            self._call(place.functions[name], fields, place)
        else:
            args = fields[1:]
            known = HANDLERS.get(base)
            if known is not None:
                known(self, args, place, stdin)
            elif base not in PURE and (args not in (["--version"], ["-V"]) or base not in TOOLS):
                self.doubt()
        self.budget.up()

    def _call(self, function: Clause, fields: list[str], place: Surroundings) -> None:
        if self.calls > 5:
            self.doubt()
            return
        if len(function.bodies) > 1:
            self.doubt()
        self.calls += 1
        self.locals.append(set())
        args, place.args, values = place.args, fields, dict(place.values)
        for body in function.bodies:
            self.body(body, place)
        place.args = args
        for name in self.locals.pop():
            place.values.pop(name, None)
            if name in values:
                place.values[name] = values[name]
        self.calls -= 1

    # -- words --

    def fields(self, word: Word, place: Surroundings) -> list[str]:
        """What a word becomes: any number of fields, in which `HOLE` is unknown and "\\1 \\2 \\3" are ``* ? [``."""
        return [field for one in braces(word, self.budget) for field in self.expand(one, place)]

    def expand(self, word: Word, place: Surroundings, split: bool = True) -> list[str]:
        """The fields of one word; without ``split`` they are pieces of one text, in which nothing is a pattern."""
        out: list[str] = []
        now: str | None = None
        for at, (kind, value, quoted) in enumerate(word):
            if kind == "t":
                text = value if quoted or not split else value.translate(_WILD)
                if not at and not quoted and text.startswith("~") and ("/" in text or len(word) == 1):
                    text = self._tilde(text, place)
                now = (now or "") + text
                continue
            if (kind, value, quoted) == ("v", "@", True) and split and place.args is not None:
                first, *others = place.args[1:] or [""]
                now = (now or "") + first if place.args[1:] else now
                for other in others:
                    out.append(now or "")
                    now = other
                continue
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
        text = text.replace("\t", " ").replace("\n", " ")
        self.budget.spend(len(text))
        if text[:1] == " " and now is not None:
            out.append(now)
            now = None
        pieces = [piece for piece in text.split(" ") if piece]
        if len(pieces) > 1:
            self.doubt()  # zsh keeps them together
        for at, piece in enumerate(pieces):
            if at:
                out.append(now or "")
                now = None
            now = (now or "") + piece
        if pieces and text[-1] == " ":
            out.append(now or "")
            now = None
        return now

    def _tilde(self, text: str, place: Surroundings) -> str:
        user, slash, rest = text.partition("/")
        home = self.lookup("HOME", place) if user == "~" else None
        return (HOLE if home is None else home) + slash + rest

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

    def _value(self, kind: str, value: Any, place: Surroundings) -> str | None:
        """What a part that is no text stands for, if it is known; commands in it are walked."""
        self.budget.spend(2)
        if kind == "v":
            return self.lookup(value, place)
        if kind == "x":
            return self._output(value, place)
        if kind == "p":
            self.body(value, place.copy())
            return "/dev/fd/63"
        name, operator, inside = value
        if operator == "((":
            self._sum(inside[0][1], place)
            return None
        self.expand(inside, place, split=False)
        if operator in (":=", "=") or operator[:1] == "=":
            place.values[name] = None
        return (self.lookup(name, place) or None) if operator[:1] == "-" or operator == ":-" else None

    def _sum(self, text: str, place: Surroundings) -> None:
        """After arithmetic: what it may have changed is not known."""
        if "=" in text or "++" in text or "--" in text:
            names = "".join(letter if letter in _NAME else " " for letter in text).split()
            for name in names:
                if not name[0].isdigit():
                    self.set(place, name, None)

    def _output(self, body: Body, place: Surroundings) -> str | None:
        """What commands print, where it is plain: ``pwd``, and ``echo`` of what is known."""
        self.lax += 1
        self.body(body, place.copy())
        self.lax -= 1
        if len(body) != 1 or len(body[0][0]) != 1 or len(body[0][0][0][1]) != 1:
            return None
        node = body[0][0][0][1][0]
        if node.kind != "simple" or node.redirs or node.assigns:
            return None
        if any(kind not in "tv" for word in node.words for kind, _, _ in word):
            return None
        name, *args = [field for word in node.words for field in self.fields(word, place)] or [""]
        if name in place.functions or any("\\" in one or tame(one) != one or one[:1] == "-" for one in args):
            return None
        if name == "pwd" and not args:
            return self.lookup("PWD", place) if "PWD" not in place.values else place.cwd
        return " ".join(args).rstrip("\n") if name == "echo" else None

    # -- paths --

    def path(self, place: Surroundings, word: str) -> str | None:
        """The absolute path that a field means; nothing where that is not known, or is no file."""
        absolute = word.startswith("/")
        if not word or tame(word) != word or (place.cwd is None and not absolute):
            self.doubt()
            return None
        if not absolute and not place.sure:
            self.doubt()
        named = False
        for name in word.split("/") if ".." in word else ():
            if name == ".." and named:
                self.doubt()  # behind a symlink that is another folder
            named = named or name not in ("", ".", "..")
        full = posixpath.normpath(word if absolute else f"{place.cwd}/{word}")
        full = full[1:] if full.startswith("//") else full
        if full in _QUIET or full.startswith(("/dev/fd/", "/dev/pts/", "/dev/tcp/", "/dev/udp/", "/proc/self/fd/")):
            return None
        if full.startswith(("/proc/", "/dev/")):
            self.doubt()
        return full

    def write(self, place: Surroundings, word: str, tree: bool = False) -> None:
        """Note that the file of a field is written; ``tree``: and all that is below it."""
        full = self.path(place, word)
        if full is not None:
            self.note(full, tree)

    def note(self, full: str, tree: bool = False) -> None:
        if any(full == link or full.startswith(f"{link}/") for link in self._links):
            self.doubt()
        for kind, listed in (("write", self.reading.writes), ("tree", self.reading.trees)):
            if (kind, full) not in self._seen and (tree or kind == "write"):
                self._seen.add((kind, full))
                listed.append(full)
        if len(self.reading.writes) > MOST:
            raise Unread

    def tree(self, place: Surroundings, word: str) -> None:
        """Note that what a field names is written: a file, or all of a folder."""
        full = self.path(place, word)
        if full is not None:
            self.note(full, self.folder(place, full) is not False)

    def remove(self, place: Surroundings, word: str) -> None:
        """Note that ``rm -r`` is given a field."""
        text = tame(word)
        if HOLE not in word and (text.startswith("/") or place.cwd is not None):
            full = posixpath.normpath(text if text.startswith("/") else f"{place.cwd}/{text}")
            self.reading.removed.append(full[1:] if full.startswith("//") else full)
        head, slash, last = word.rpartition("/")
        if last == "\1" and tame(head) == head:
            self.doubt()
            self.write(place, head or slash or ".", tree=True)
            return
        self.tree(place, word)
        found = self.path(place, word)
        if found is not None:
            place.folders[found] = False

    def folder(self, place: Surroundings, full: str) -> bool | None:
        """Whether a path is a folder, as far as that is known."""
        if full in place.folders:
            return place.folders[full]
        return None if self._is_folder is None else bool(self._is_folder(full))

    def made(self, place: Surroundings, word: str) -> None:
        """A folder is made, with those above it."""
        full = self.path(place, word)
        while full and full != "/" and not place.folders.get(full):
            place.folders[full] = True
            full = posixpath.dirname(full)

    def linked(self, place: Surroundings, word: str) -> None:
        """From here on a path is a link: what is written there is written elsewhere."""
        full = self.path(place, word)
        if full is not None:
            self._links.append(full)

    def into(self, place: Surroundings, source: str, target: str, inside: bool | None) -> list[str]:
        """The fields that a copy of ``source`` may be at: ``target``, or below it; ``inside``: which, if the call tells."""
        name = source.rstrip("/").rpartition("/")[2]
        if name in ("", ".", ".."):
            return [target]
        below = f"{target.rstrip('/')}/{name}" if target.strip("/") else f"/{name}"
        if inside is None and target.rpartition("/")[2] in (".", ".."):
            inside = True
        if inside is None and (target[:1] == "/" or place.cwd is not None) and tame(target) == target and target:
            inside = self.folder(place, posixpath.normpath(posixpath.join(place.cwd or "/", target)))
        if inside is None:
            return [target, below]
        return [below if inside else target]


def _named(nodes: list[Clause]) -> str:
    """The program of a pipeline of one simple command, if it is a plain word."""
    if len(nodes) != 1 or nodes[0].kind != "simple" or not nodes[0].words or len(nodes[0].words[0]) != 1:
        return ""
    kind, text, quoted = nodes[0].words[0][0]
    return str(text) if kind == "t" and not quoted else ""


def _goes(nodes: list[Clause], place: Surroundings) -> bool:
    """Whether a pipeline is a ``cd``, which leaves all as it is where it fails."""
    return _named(nodes) in ("cd", "pushd", "popd") and not place.functions and not nodes[0].assigns


def _leaves(nodes: list[Clause], place: Surroundings) -> bool:
    """Whether a pipeline ends the script."""
    if len(nodes) == 1 and nodes[0].kind == "group" and nodes[0].bodies:
        return _ends(nodes[0].bodies[0], place)
    return _named(nodes) == "exit" and "exit" not in place.functions


def _ends(body: Body, place: Surroundings) -> bool:
    return bool(body) and not body[-1][1] and len(body[-1][0]) == 1 and _leaves(body[-1][0][0][1], place)


_MEANING = _words(
    "PATH IFS BASH_ENV ENV CDPATH SHELLOPTS BASHOPTS LESSOPEN TAR_OPTIONS RIPGREP_CONFIG_PATH PROMPT_COMMAND"
)
_SPECIAL_NAMES = _words(
    "PWD OLDPWD RANDOM SRANDOM SECONDS LINENO EPOCHSECONDS BASHPID DIRSTACK FUNCNAME OPTIND OPTARG _"
)
_STARTED = _words("PAGER EDITOR VISUAL GIT_PAGER GIT_EDITOR GIT_SEQUENCE_EDITOR MANPAGER")


def _changes_meaning(name: str, value: str | None) -> bool:
    """Whether commands may do something else once this variable has this value."""
    if name in _STARTED:
        return value not in ("", ":", "true", "cat", "less")
    if name.startswith("GIT_"):
        return not name.startswith(("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_TERMINAL_PROMPT"))
    return name in _MEANING or name in _SPECIAL_NAMES or name.startswith(("LD_", "DYLD_", "BASH_FUNC"))


# -- programs: how their words are told apart ------------------------------------------------------------------------


def options(
    walker: Walker, args: list[str], short: str = "", long: str = "", leading: bool = False
) -> tuple[Options, list[str]]:
    """The options of a call and its plain words; ``short`` and ``long`` name those that take a word.

    ``leading``: only those before the first plain word.
    """
    given: Options = []
    plain: list[str] = []
    known = long.split()
    at = 0
    while at < len(args):
        word = args[at]
        at += 1
        if word == "--":
            return given, plain + args[at:]
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            full = name if name in known else next((one for one in known if len(name) > 1 and one.startswith(name)), "")
            if full and not equals:
                value = args[at] if at < len(args) else ""
                at += 1
            given.append((f"--{full or name}", value))
        elif word[:1] == "-" and len(word) > 1:
            for place, letter in enumerate(word[1:], 2):
                if letter in short:
                    value = word[place:]
                    if not value:
                        value = args[at] if at < len(args) else ""
                        at += 1
                    given.append((f"-{letter}", value))
                    break
                given.append((f"-{letter}", ""))
        elif leading:
            return given, args[at - 1 :]
        else:
            if word[:1] == HOLE:
                walker.doubt()  # it may be an option
            plain.append(word)
    return given, plain


def has(given: Options, *names: str) -> bool:
    """Whether one of the options is given; a long one may be shortened."""
    return any(
        one == name or (len(one) > 4 and name.startswith(one) and name[:2] == "--")
        for one, _ in given
        for name in names
    )


def values(given: Options, *names: str) -> list[str]:
    """The words that the options are given."""
    return [value for one, value in given if one in names]


def _writes(short: str = "", long: str = "", skip: int = 0) -> Handler:
    """A program that writes each file it is given, but the first ``skip`` words; with ``-R``, all that is below."""

    def handler(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
        given, plain = options(walker, args, short, long)
        for word in plain[0 if has(given, "--reference") else skip :]:
            if has(given, "-R", "--recursive"):
                walker.tree(place, word)
            else:
                walker.write(place, word)

    return handler


def _wrapper(short: str = "", long: str = "", skip: int = 0, here: bool = False, sure: bool = True) -> Handler:
    """A program that starts the command behind its options and ``skip`` words; ``here``: in the shell itself."""

    def handler(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
        _, rest = options(walker, args, short, long, leading=True)
        if not sure:
            walker.doubt()
        if rest[skip:]:
            walker.command(rest[skip:], place if here else place.outside(), stdin)

    return handler


def _writes_option(short: str, long: str, outputs: str, output_words: int = -1) -> Handler:
    """A program that writes what stands behind the options ``outputs``, and the plain word of that number, if any."""

    def handler(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
        given, plain = options(walker, args, short, long)
        if has(given, "--compress-program"):
            walker.doubt()
        for word in values(given, *outputs.split()):
            if word != "-":
                walker.write(place, word)
        for word in plain[output_words:] if output_words > 0 else ():
            walker.write(place, word)

    return handler


def _only(verbs: str, short: str = "", long: str = "") -> Handler:
    """A program of which some verbs are known to write nothing."""
    known = frozenset(verbs.split())

    def handler(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
        _, plain = options(walker, args, short, long)
        if not known.intersection((" ".join(plain[:2]), plain[0] if plain else "", args[0] if args else "")):
            walker.doubt()

    return handler


def _unsure(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    """An editor or the like: what it is given is written, and maybe more."""
    walker.doubt()
    for word in args:
        if word[:1] not in ("-", "+", HOLE):
            walker.write(place, word)


# -- programs: the shell's own ---------------------------------------------------------------------------------------


def _cd(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    plain = [word for word in args if word != "--" and (word[:1] != "-" or word == "-")]
    target = plain[0] if plain else walker.lookup("HOME", place) or HOLE
    old = place.cwd
    if target == "-" or len(plain) > 1 or tame(target) != target or (place.cwd is None and target[:1] != "/"):
        place.cwd = None
    elif target:
        full = posixpath.normpath(posixpath.join(place.cwd or "/", target))
        place.cwd = full[1:] if full.startswith("//") else full
    if place.cwd is not None and (target[:1] == "/" or not old):
        place.sure = True


def _pushd(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    old = place.cwd
    if len(args) == 1 and args[0][:1] not in ("+", "-"):
        _cd(walker, args, place, stdin)
        place.stack.append(old)
    else:
        place.cwd, place.stack = None, []


def _popd(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    place.cwd = place.stack.pop() if place.stack and not args else None


def _declare(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    for word in args:
        name, equals, value = word.partition("=")
        if word[:1] in ("-", "+"):
            if set("nrilu").intersection(word):
                walker.doubt()
        elif not name or not _NAME.issuperset(name):
            walker.doubt()
        elif equals:
            if value == "~" or value.startswith("~/"):
                value = (walker.lookup("HOME", place) or HOLE) + value[1:]
            walker.set(place, name, None if HOLE in value else tame(value))


def _local(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    if walker.locals:
        walker.locals[-1].update(word.partition("=")[0] for word in args)
    _declare(walker, args, place, stdin)


def _export(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    _declare(walker, args, place, stdin)
    if not any(word[:1] == "-" for word in args):
        place.exported.update(word.partition("=")[0] for word in args)


def _readonly(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    walker.doubt()
    _declare(walker, args, place, stdin)


def _bare(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    """A builtin that only tells something while it is given no words."""
    if args:
        walker.doubt()


def _unset(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    for word in args:
        if word[:1] != "-":
            place.functions.pop(word, None)
            walker.set(place, word, "")


def _reads(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    """A builtin that fills variables: those it names are not known any more."""
    for word in [*args, "REPLY", "MAPFILE"]:
        if HOLE in word or "[" in tame(word):
            walker.doubt()
        elif word[:1] != "-" and _NAME.issuperset(word):
            walker.set(place, word, None)


def _printf(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    if args[:1] and args[0].startswith("-v"):
        _reads(walker, [args[0][2:] or (args[1] if args[1:] else "")], place, stdin)


def _let(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    names = "".join(letter if letter in _NAME else " " for letter in " ".join(args)).split()
    if any("$" in tame(word) or "`" in word for word in args):
        walker.doubt()
    _reads(walker, names, place, stdin)


def _set(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    for at, word in enumerate(args):
        if word == "--" or word[:1] not in ("-", "+"):
            if word == "--" or not (at and args[at - 1][-1:] == "o"):
                place.args = ["", *(args[at + 1 :] if word == "--" else args[at:])]
                return
            if word == "errexit":
                place.errexit = args[at - 1][0] == "-"
            elif word not in ("pipefail", "nounset", "xtrace", "verbose", "noclobber", "noglob"):
                walker.doubt()
        else:
            if "e" in word:
                place.errexit = word[0] == "-"
            if not set(word[1:]) <= set("euxvfhCo"):
                walker.doubt()


def _shift(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    if place.args is not None:
        place.args = None if args else place.args[:1] + place.args[2:]


def _eval(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    if any(HOLE in word for word in args):
        walker.doubt()
    walker.script(_code(" ".join(args)), place)


def _trap(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    words = args[1:] if args[:1] == ["--"] else args
    if len(words) > 1 and words[0] not in ("-", ""):
        inner = place.copy()
        inner.sure = False  # it runs later, wherever the script is then
        inner.values = dict.fromkeys(inner.values)
        if {"DEBUG", "ERR", "RETURN"}.intersection(word.upper() for word in words[1:]):
            walker.doubt()
        _eval(walker, words[:1], inner, stdin)


def _doubtful(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    """It may do anything."""
    walker.doubt()


def _code(field: str) -> str:
    """A field as the text of commands."""
    return field.translate({1: "*", 2: "?", 3: "["})


def _shell(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    """``sh -c TEXT``, or ``sh`` with its commands in a here-document."""
    at, command, from_stdin = 0, False, False
    while at < len(args) and args[at][:1] in ("-", "+") and len(args[at]) > 1:
        word = args[at]
        at += 1
        if word in ("--version", "--help"):
            return
        if word == "--":
            break
        if word in ("--rcfile", "--init-file") or (not word.startswith("--") and word[-1] in "oO"):
            at += 1
        if not word.startswith("--"):
            command, from_stdin = command or "c" in word, from_stdin or "s" in word
    rest = args[at:]
    inner = place.outside()
    if any(word[:1] == "+" or (word[:2] != "--" and "O" in word) for word in args[:at]):
        walker.doubt()
    inner.errexit = any(word[:1] == "-" and word[:2] != "--" and "e" in word for word in args[:at])
    if command and rest:
        inner.args = rest[1:] or [""]
        _eval(walker, rest[:1], inner, None)
    elif stdin is not None and (from_stdin or not rest or rest == ["-"]):
        _eval(walker, [stdin], inner, None)
    else:
        walker.doubt()


# -- programs: those that start others -------------------------------------------------------------------------------


def _env(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    given, rest = options(walker, args, "uCPS", "unset chdir split-string", leading=True)
    inner = place.outside()
    for word in values(given, "-C", "--chdir"):
        _cd(walker, [word], inner, None)
    if has(given, "-i", "-u", "--ignore-environment", "--unset") or rest[:1] == ["-"]:
        inner.values = dict.fromkeys([*inner.values, "HOME"])
    rest = rest[1:] if rest[:1] == ["-"] else rest
    while rest and "=" in rest[0] and HOLE not in rest[0].partition("=")[0]:
        name, _, value = rest[0].partition("=")
        walker.set(inner, name, None if HOLE in value else tame(value))
        inner.exported.add(name)
        rest = rest[1:]
    for text in values(given, "-S", "--split-string"):
        walker.doubt()
        walker.script(_code(text), inner)
    if rest:
        walker.command(rest, inner, stdin)


def _sudo(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    long = "user group host prompt chdir chroot close-from role type other-user command-timeout"
    given, rest = options(walker, args, "ughpCRrtTUD", long, leading=True)
    inner = place.outside()
    for word in values(given, "-D", "--chdir"):
        _cd(walker, [word], inner, None)
    inner.values = dict.fromkeys([*inner.values, "HOME"])
    if has(given, "-e", "--edit"):
        _unsure(walker, rest, inner, stdin)
        return
    if has(given, "-i", "--login", "-R", "--chroot"):
        walker.doubt()
        inner.cwd = None
    while rest and "=" in rest[0] and _NAME.issuperset(rest[0].partition("=")[0]):
        walker.set(inner, rest[0].partition("=")[0], None)
        rest = rest[1:]
    rest = rest[1:] if rest[:1] == ["--"] else rest
    if rest:
        walker.command(rest, inner, stdin)


def _command(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    given, rest = options(walker, args, leading=True)
    if rest and not has(given, "-v", "-V"):
        functions, place.functions = place.functions, {}
        walker.command(rest, place, stdin)
        place.functions = {**functions, **place.functions}


def _xargs(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    long = "arg-file delimiter max-args max-chars max-procs max-lines process-slot-var"
    given, rest = options(walker, args, "IJRSLnPsdEa", long, leading=True)
    marks = values(given, "-I", "-J", "--replace") + (["{}"] if has(given, "-i", "--replace") else [])
    marks = [mark or "{}" for mark in marks]
    words = rest or ["echo"]
    for mark in marks:
        words = [word.replace(mark, HOLE) for word in words]
    walker.command(words if marks else [*words, HOLE], place.outside(), None)


def _find(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    at, tests = 0, 0
    while at < len(args):
        word = args[at]
        at += 1
        tests += word[:1] in ("-", "(", "!") and word not in ("-delete", "-H", "-L", "-P", "-depth")
        if word in ("-exec", "-execdir", "-ok", "-okdir"):
            end = at
            while end < len(args) and args[end] != ";" and not (args[end] == "+" and args[end - 1] == "{}"):
                end += 1
            inner = place.outside()
            if word.endswith("dir"):
                inner.cwd = None
            if args[at:end]:
                walker.command([one.replace("{}", HOLE) for one in args[at:end]], inner, None)
            at = end + 1
        elif word in ("-fprint", "-fprint0", "-fls", "-fprintf"):
            for target in args[at : at + 1]:
                walker.write(place, target)
            at += 1
        elif word == "-delete" or word[:1] == HOLE:
            walker.doubt()
    if "-delete" in args and not tests:
        for word in [one for one in args if one[:1] != "-"] or ["."]:
            walker.remove(place, word)


def _finder(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    """``fd`` and ``rg``: they only look, unless they are told to start something."""
    for at, word in enumerate(args):
        if word in ("-x", "-X", "--exec", "--exec-batch"):
            walker.command([one.replace("{}", HOLE) for one in args[at + 1 :]] or ["?"], place.outside(), None)
            return
        if word.startswith(("--pre", "--exec", "--hostname-bin", "--pager", "--output")) or word[:1] == HOLE:
            walker.doubt()


def _time(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    given, rest = options(walker, args, "fo", "format output", leading=True)
    for word in values(given, "-o", "--output"):
        walker.write(place, word)
    if rest:
        walker.command(rest, place.outside(), stdin)


def _flock(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    _, rest = options(walker, args, "wEc", "timeout wait conflict-exit-code command", leading=True)
    if rest and not rest[0].isdigit():
        walker.write(place, rest[0])
    rest = rest[1:]
    if rest[:1] in (["-c"], ["--command"]):
        rest = ["sh", "-c", *rest[1:]]
    if rest:
        walker.command(rest, place.outside(), stdin)


def _watch(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    _, rest = options(walker, args, "nq", "interval equexit", leading=True)
    _eval(walker, rest, place.outside(), None)


def _runner(*verbs: str) -> Handler:
    """A tool that starts a command in an environment of its own, which it may make first."""

    def handler(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
        walker.doubt()
        if verbs and args[:1] and args[0] not in verbs:
            return
        _, rest = options(walker, args[1:] if verbs else args, "pc", "with python package extra group", leading=True)
        if rest:
            walker.command(rest, place.outside(), stdin)

    return handler


def _mbox(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    if args[:1] and args[0] in ("run", "watch", "hooks", "audit", "team", "workflow", "watchdog", "mcp", "doctor"):
        walker.doubt()
    if args[:1] and args[0] in ("lock", "run"):
        rest = args[args.index("--") + 1 :] if "--" in args else []
        if rest:
            walker.command(rest, place.outside(), stdin)
        else:
            walker.doubt()


# -- programs: files -------------------------------------------------------------------------------------------------


def _rm(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    given, plain = options(walker, args)
    for word in plain:
        if has(given, "-r", "-R", "--recursive"):
            walker.remove(place, word)
        else:
            walker.write(place, word)


def _mkdir(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    _, plain = options(walker, args, "m", "mode")
    for word in plain:
        if tame(word) == word:
            certain = walker.reading.certain
            walker.made(place, word)
            walker.reading.certain = certain


def _targets(given: Options, plain: list[str]) -> tuple[list[str], str | None, bool | None]:
    """Sources, target and whether it is a folder for sure, of ``mv``, ``cp``, ``ln`` and ``install``."""
    folders = values(given, "-t", "--target-directory")
    if folders:
        return plain, folders[-1], True
    if len(plain) < 2:
        return plain, None, None
    inside = False if has(given, "-T", "--no-target-directory") else True if len(plain) > 2 else None
    return plain[:-1], plain[-1], inside


def _mv(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    given, plain = options(walker, args, "tS", "target-directory suffix")
    sources, target, inside = _targets(given, plain)
    _backed_up(walker, given)
    for source in sources if target is not None else ():
        walker.tree(place, source)
        for word in walker.into(place, source, target or "", inside):
            _put(walker, place, source, word)


def _cp(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    given, plain = options(walker, args, "tS", "target-directory suffix")
    sources, target, inside = _targets(given, plain)
    _backed_up(walker, given)
    if has(given, "--parents"):
        walker.doubt()
    recursive = has(given, "-r", "-R", "-a", "--recursive", "--archive")
    if has(given, "-l", "-s", "--link", "--symbolic-link"):
        walker.doubt()
    for source in sources if target is not None else ():
        for word in walker.into(place, source, target or "", inside):
            if recursive:
                _put(walker, place, source, word)
            else:
                walker.write(place, word)


def _put(walker: Walker, place: Surroundings, source: str, word: str) -> None:
    """A file, or a folder with all that is in it, is put at ``word``."""
    full = walker.path(place, source) if source and tame(source) == source else None
    known = None if full is None else walker.folder(place, full)
    if known is None:
        walker.tree(place, word)
    else:
        walker.write(place, word, tree=known)


def _backed_up(walker: Walker, given: Options) -> None:
    if has(given, "-b", "--backup", "-S", "--suffix"):
        walker.doubt()


def _ln(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    given, plain = options(walker, args, "tS", "target-directory suffix")
    sources, target, inside = _targets(given, plain)
    _backed_up(walker, given)
    if has(given, "-n", "--no-dereference"):
        inside = inside or False
    for source in sources:
        words = walker.into(place, source, "." if target is None else target, True if target is None else inside)
        for word in words:
            walker.write(place, word)
        for word in words:
            walker.linked(place, word)


def _install(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    given, plain = options(walker, args, "tSmog", "target-directory suffix mode owner group strip-program")
    if has(given, "-d", "--directory"):
        _mkdir(walker, plain, place, stdin)
        return
    sources, target, inside = _targets(given, plain)
    _backed_up(walker, given)
    for source in sources if target is not None else ():
        for word in walker.into(place, source, target or "", inside):
            walker.write(place, word)


def _rsync(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    long = "rsh exclude include filter exclude-from include-from files-from log-file out-format partial-dir temp-dir"
    given, plain = options(walker, args, "efBMT", f"{long} backup-dir link-dest compare-dest copy-dest chmod port")
    for word in values(given, "--log-file"):
        walker.write(place, word)
    if has(given, "-e", "-b", "--rsh", "--backup", "--backup-dir", "--partial-dir", "--temp-dir", "-T"):
        walker.doubt()
    if has(given, "-n", "--dry-run") or len(plain) < 2 or _elsewhere(plain[-1]):
        return
    for source in plain[:-1]:
        inside = False if source.endswith("/") else True if len(plain) > 2 else None
        for word in walker.into(place, source, plain[-1], inside):
            walker.tree(place, word)
        if has(given, "--remove-source-files") and not _elsewhere(source):
            walker.tree(place, source)


def _elsewhere(word: str) -> bool:
    """Whether a word of ``rsync`` or ``scp`` is a path on another machine."""
    return ":" in word.partition("/")[0]


def _scp(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    _, plain = options(walker, args, "cDFiJloPSX")
    if len(plain) > 1 and not _elsewhere(plain[-1]):
        for source in plain[:-1]:
            for word in walker.into(place, source.partition(":")[2] or source, plain[-1], None):
                walker.tree(place, word)


def _dd(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    for word in args:
        if word.startswith("of="):
            walker.write(place, word[3:])
        elif word[:1] == HOLE:
            walker.doubt()


def _chmod(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    modes = [word for word in args if word[:1] == "-" and word[1:] and set(word[1:]) <= set("rwxXstugo,+=-")]
    _writes("", "reference", 0 if modes else 1)(walker, [word for word in args if word not in modes], place, stdin)


def _patch(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    long = "input output reject-file directory strip fuzz backup-if-mismatch prefix suffix ifdef"
    given, plain = options(walker, args, "pioBrdDFVYzg", long)
    if has(given, "--dry-run", "-C", "--check"):
        return
    walker.doubt()  # FILE.orig, FILE.rej, what the patch names
    inner = place.copy()
    for word in values(given, "-d", "--directory"):
        _cd(walker, [word], inner, None)
    for word in values(given, "-o", "-r", "--output", "--reject-file") + plain[:1]:
        if word != "-":
            walker.write(inner, word)


def _apply_patch(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    text = tame(args[0]) if args else stdin
    if text is None or place.cwd is None or HOLE in (args[0] if args else text) or not place.sure:
        walker.doubt()
    if text is not None and place.cwd is not None:
        walker.reading.patches.append((place.cwd, tame(text)))


def _compress(suffix: str, undo: bool) -> Handler:
    """``gzip`` and its like: each file is replaced by another."""

    def handler(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
        given, plain = options(walker, args, "SbT" if suffix != ".zst" else "oDTM", "suffix threads")
        if has(given, "-c", "--stdout", "--to-stdout", "-t", "--test", "-l", "--list"):
            return
        if has(given, "-r", "--recursive", "-S", "--suffix", "-D"):
            walker.doubt()
        for word in values(given, "-o"):
            walker.write(place, word)
        for word in plain if not values(given, "-o") else ():
            walker.write(place, word)
            if not (undo or has(given, "-d", "--decompress", "--uncompress")):
                walker.write(place, f"{word}{suffix}")
            elif word.endswith(suffix):
                walker.write(place, word.removesuffix(suffix))
            else:
                walker.doubt()

    return handler


def _tar(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    words = [f"-{args[0]}", *args[1:]] if args and args[0][:1] not in ("-", HOLE) else args
    long = "file directory exclude exclude-from files-from use-compress-program to-command checkpoint-action transform"
    old = len(args) > 0 and words is not args and "f" in args[0]
    given, _ = options(walker, words if not old else _apart(words), "fCXTIbgFHKLNV", long)
    started = (
        "-I",
        "--use-compress-program",
        "--to-command",
        "--checkpoint-action",
        "--remove-files",
        "-F",
        "--rsh-command",
    )
    if has(given, *started) or has(given, "-g", "--listed-incremental", "--index-file"):
        walker.doubt()
    if has(given, "-x", "--extract", "--get"):
        if not has(given, "-O", "--to-stdout"):
            walker.doubt()
    elif has(given, "-c", "-r", "-u", "-A", "--create", "--append", "--update", "--delete", "--concatenate"):
        for word in values(given, "-f", "--file"):
            if word != "-" and ":" not in word.partition("/")[0]:
                walker.write(place, word)
    elif not has(given, "-t", "--list", "--version", "--help"):
        walker.doubt()


def _apart(words: list[str]) -> list[str]:
    """The old way of ``tar cfz FILE``, with the ``f`` where its word is."""
    return [words[0].replace("f", ""), "-f", *words[1:]] if len(words) > 1 else words


def _zip(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    given, plain = options(walker, args, "bnPtxiO")
    if has(given, "-m", "-T", "-U"):
        walker.doubt()
    for word in values(given, "-O") or plain[:1]:
        if word != "-":
            walker.write(place, word if "." in word.rpartition("/")[2] else f"{word}.zip")


def _unzip(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    given, _ = options(walker, args, "dxP")
    if not has(given, "-l", "-t", "-p", "-c", "-z", "-Z", "-v"):
        walker.doubt()


def _curl(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    long = (
        "output dump-header cookie-jar output-dir trace trace-ascii stderr etag-save hsts alt-svc libcurl config data"
        " data-raw data-binary data-urlencode header request user url cookie form proxy max-time connect-timeout retry"
        " user-agent referer cert key cacert write-out upload-file range resolve json"
    )
    given, plain = options(walker, args, "oDcKdHXuFbxmAeTEwrYyCQtzUP", long)
    if has(given, "-K", "--config", "-J", "--remote-header-name"):
        walker.doubt()
    folder = (values(given, "--output-dir") or [""])[-1]
    outputs = values(given, "-o", "--output")
    urls = [_code(url) for url in plain + values(given, "--url")]
    if has(given, "-O", "--remote-name", "--remote-name-all"):
        outputs += [url.partition("?")[0].partition("#")[0].rpartition("/")[2] for url in urls]
    if any(mark in one for one in [*outputs, *(urls if outputs else [])] for mark in ("#", "{", "[", HOLE)):
        walker.doubt()  # a range of addresses
    for word in outputs:
        if word != "-":
            walker.write(place, f"{folder}/{word}" if folder and word[:1] != "/" else word)
    others = "-D --dump-header -c --cookie-jar --trace --trace-ascii --stderr --etag-save --hsts --alt-svc --libcurl"
    for word in values(given, *others.split()):
        if word != "-":
            walker.write(place, word)


def _wget(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    long = "output-document output-file append-output directory-prefix input-file tries timeout user-agent header"
    given, plain = options(walker, args, "OoaPitTUeQwADRIXlBS", f"{long} save-cookies execute post-data quota")
    logs = values(given, "-o", "-a", "--output-file", "--append-output", "--save-cookies")
    documents = values(given, "-O", "--output-document")
    for word in logs + documents:
        if word != "-":
            walker.write(place, word)
    if documents or has(given, "--spider"):
        return
    walker.doubt()
    folder = (values(given, "-P", "--directory-prefix") or ["."])[-1]
    for url in plain:
        name = url.partition("?")[0].partition("#")[0].partition("://")[2].rpartition("/")[2]
        walker.write(place, f"{folder}/{name or 'index.html'}")


def _uniq(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    _, plain = options(walker, args, "fsw", "skip-fields skip-chars check-chars")
    for word in plain[1:2]:
        if word != "-":
            walker.write(place, word)


def _xxd(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    plain = [word for at, word in enumerate(args) if word[:1] != "-" and args[at - 1 : at] not in _XXD]
    if any(word[:1] == HOLE for word in args):
        walker.doubt()
    for word in plain[1:2]:
        walker.write(place, word)


_XXD = [[f"-{name}"] for name in ("c", "cols", "g", "groupsize", "l", "len", "n", "name", "o", "s", "seek", "R")]


def _file(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    if any(word.startswith(("-C", "--compile", HOLE)) for word in args):
        walker.doubt()


def _gh(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    nouns = ("issue", "pr", "run", "release", "repo", "workflow", "label", "search", "auth", "gist")
    verbs = (
        "view",
        "list",
        "status",
        "diff",
        "checks",
        "comment",
        "create",
        "edit",
        "close",
        "review",
        "prs",
        "issues",
        "code",
    )
    if not (len(args) > 1 and args[0] in nouns and args[1] in verbs) or args[:2] in (
        ["repo", "create"],
        ["gist", "edit"],
    ):
        walker.doubt()
    if "-w" in args or "--web" in args:
        walker.doubt()


# -- programs: those with a language of their own --------------------------------------------------------------------


def _sed(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    in_place = [word for word in args if word.startswith(("-i", "--in-place")) or _clustered(word, "nErsuz")]
    words = list(args)
    suffix = ""
    for word in in_place:
        at = words.index(word)
        suffix = word.partition("=")[2] if word[:2] == "--" else word.partition("i")[2]
        words[at : at + 1] = [word.partition("i")[0]] if word[:2] != "--" and word.partition("i")[0] != "-" else []
        following = words[at : at + 1]
        if not suffix and word == "-i" and following and (following[0] == "" or following[0][:1] == "."):
            suffix = words.pop(at)  # as macOS has it
    given, plain = options(walker, words, "efl", "expression file line-length")
    scripts = values(given, "-e", "--expression")
    if values(given, "-f", "--file"):
        walker.doubt()
    elif not scripts:
        scripts, plain = plain[:1], plain[1:]
    _edits(walker, _code("\n".join(scripts)), place)
    for word in plain if in_place else ():
        walker.write(place, word)
        if "*" in tame(suffix):
            walker.doubt()
        elif suffix:
            walker.write(place, f"{word}{suffix}")


def _clustered(word: str, before: str) -> bool:
    """Whether a word is ``-ni`` or the like."""
    head, found, _ = word[1:].partition("i")
    return word[:1] == "-" and word[:2] != "--" and bool(found) and set(head) <= set(before)


def _edits(walker: Walker, script: str, place: Surroundings) -> None:
    """Note what a script of ``sed`` writes; what is not a plain one is in doubt."""
    at = 0
    while at < len(script):
        walker.budget.spend(1)
        letter = script[at]
        at += 1
        if letter in " \t\n;{}!,0123456789$~+pPdDqQ=nNgGhHxlzFI":
            continue
        if letter in "/\\":
            stop = letter if letter == "/" else script[at : at + 1]
            at = _past(script, at + (letter == "\\"), stop)
        elif letter in "sy":
            stop = script[at : at + 1]
            at = _past(script, _past(script, at + 1, stop), stop)
            if at > len(script):
                walker.doubt()
            while letter == "s" and at < len(script) and script[at] in "gpiIMm0123456789":
                at += 1
            if script[at : at + 1] == "w":
                walker.doubt()
                walker.write(place, script[at + 1 :].partition("\n")[0].strip())
                return
            if script[at : at + 1] not in ("", " ", ";", "\n", "}"):
                walker.doubt()
                return
        elif letter in "btT:aicrR#":
            found = script.find("\n", at)
            while letter in "aic" and found > 0 and script[found - 1] == "\\":
                found = script.find("\n", found + 1)
            if letter in "btT:" and script.find(";", at) >= 0 and (found < 0 or script.find(";", at) < found):
                found = script.find(";", at)
            at = len(script) if found < 0 else found
        else:
            walker.doubt()
            if letter in "wW":
                walker.write(place, script[at:].partition("\n")[0].strip())
            return


def _past(script: str, at: int, stop: str) -> int:
    """The place behind the text that ``stop`` closes; behind the end of the script if nothing does for sure."""
    bracket = False
    while at < len(script):
        letter = script[at]
        if letter == "\\":
            at += 1
        elif letter == stop:
            return len(script) + 1 if bracket and script.find("]", at) >= 0 else at + 1
        elif letter == "[":
            bracket = True
        elif letter == "]":
            bracket = False
        at += 1
    return len(script) + 1


def _substitutes(walker: Walker, code: str) -> None:
    """What is not a row of ``s///`` and ``y///`` is in doubt."""
    at = 0
    while at < len(code):
        if code[at] in " ;\n":
            at += 1
            continue
        stop = code[at + 1 : at + 2]
        if (
            code[at] not in "sy"
            or stop.isalnum()
            or stop in ("", " ", "_", "{", "(", "<", "[", "#", "\n", "=", "'", ",", ";")
        ):
            walker.doubt()
            return
        at = _past(code, _past(code, at + 2, stop), stop)
        while at < len(code) and code[at] in "gimsx":
            at += 1
        if at > len(code) or code[at : at + 1] not in ("", " ", ";", "\n"):
            walker.doubt()
            return


def _perl(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    """``perl`` and ``ruby``: with ``-i`` their files are written, and by anything but a plain ``s///`` maybe others."""
    codes: list[str] = []
    in_place, suffix = False, ""
    at = 0
    while at < len(args) and args[at][:1] == "-" and args[at] not in ("-", "--"):
        word = args[at]
        at += 1
        head, found, rest = word.partition("i")
        if found and set(head[1:]) <= set("pnlaw0"):
            in_place, suffix = True, rest if rest[:1] in ("", ".", "~") else ""
            word = head if suffix == rest else f"-{rest}"
        if word[-1:] in ("e", "E"):
            codes += args[at : at + 1]
            at += 1
        if set(word[1:]) - set("pnlaweE0"):
            walker.doubt()
    if not codes or any(mark in code for code in codes for mark in ("@{", "(?{", "(??{", "${", "`", HOLE)):
        walker.doubt()
    for code in codes:
        _substitutes(walker, _code(code))
    for word in args[at:] if in_place else ():
        if word != "--":
            walker.write(place, word)
            if suffix:
                walker.write(place, f"{word}{suffix}")


def _awk(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    given, plain = options(walker, args, "Fvf", "field-separator assign file", leading=True)
    if any(name not in ("-F", "-v", "--field-separator", "--assign") for name, _ in given) or not plain:
        walker.doubt()
    code = plain[0] if plain else HOLE
    if any(mark in code for mark in (">", "|", "system", "@", HOLE)):
        walker.doubt()


# -- programs: git ---------------------------------------------------------------------------------------------------

_GIT_READS = _words(
    "add annotate blame branch cat-file check-attr check-ignore check-ref-format cherry commit commit-tree config"
    " count-objects describe diff diff-files diff-index diff-tree fetch for-each-ref fsck gc grep hash-object help"
    " log ls-files ls-remote ls-tree maintenance merge-base mktree name-rev notes pack-refs prune push range-diff"
    " reflog remote replace rev-list rev-parse shortlog show show-branch show-ref stage status stripspace"
    " symbolic-ref tag update-index update-ref var verify-commit verify-pack verify-tag version whatchanged"
    " write-tree merge-tree patch-id"
)
_GIT_STARTS = ("--upload-pack", "--receive-pack", "--exec", "--ext-diff")
_GIT_SILENT = _words(
    "add annotate blame branch cat-file commit describe ls-files merge-base notes remote rev-parse stage status tag"
)
_HARMLESS = (
    "user.",
    "color.",
    "advice.",
    "commit.gpgsign",
    "tag.gpgsign",
    "core.quotepath",
    "init.defaultbranch",
    "log.",
)


def _git(walker: Walker, args: list[str], place: Surroundings, stdin: str | None) -> None:
    long = "git-dir work-tree namespace super-prefix config-env exec-path attr-source"
    given, rest = options(walker, args, "Cc", long, leading=True)
    inner = place.copy()
    for word in values(given, "-C"):
        _cd(walker, [word], inner, None)
    if inner.cwd != place.cwd and values(given, "-C"):
        inner.sure = place.sure
    if any(not one.lower().startswith(_HARMLESS) for one in values(given, "-c")):
        walker.doubt()
    if values(given, "--git-dir", "--work-tree", "--config-env", "--exec-path"):
        walker.doubt()
    if not rest:
        return
    verb, words = rest[0], rest[1:]
    known = _GIT_WRITES.get(verb)
    if known is not None:
        known(walker, words, inner, stdin)
    elif verb in _GIT_READS:
        _git_read(walker, verb, words, inner)
    else:
        walker.doubt()


def _git_read(walker: Walker, verb: str, words: list[str], place: Surroundings) -> None:
    """A verb that writes nothing, unless an option tells it to."""
    for at, word in enumerate(words if verb not in _GIT_SILENT else ()):
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if len(name) > 3 and "--output".startswith(name):
            walker.write(place, value if equals else "".join(words[at + 1 : at + 2]))
        elif (
            word[:2] == "-O"
            or name[:1] == HOLE
            or (len(name) > 3 and any(one.startswith(name) for one in ("--open-files-in-pager", *_GIT_STARTS)))
        ):
            walker.doubt()
    if verb == "config":
        given, plain = options(walker, words, "f", "file type default comment")
        plain = plain[1:] if plain[:1] == ["set"] else plain
        if len(plain) > 1 and plain[0] not in ("get", "list") and not plain[0].lower().startswith(_HARMLESS):
            walker.doubt()  # git may start other programs from here on
        for word in values(given, "-f", "--file"):
            if not has(given, "-l", "--list", "--get", "--get-all", "--get-regexp"):
                walker.write(place, word)
        if has(given, "-e", "--edit"):
            walker.doubt()


def _git_paths(walker: Walker, place: Surroundings, words: list[str]) -> None:
    """Paths as git takes them; with wildcards or magic it is not known which they mean."""
    for word in words:
        if word[:1] == ":" or any(mark in word for mark in "*?["):
            walker.doubt()
        else:
            walker.tree(place, word)


def _git_checkout(walker: Walker, words: list[str], place: Surroundings, stdin: str | None) -> None:
    head = words[: words.index("--")] if "--" in words else words
    given, plain = options(walker, head, "bB", "orphan conflict pathspec-from-file")
    if has(given, "-f", "-m", "--force", "--merge"):
        walker.doubt()
    if "--" in words:
        if has(given, "--pathspec-from-file"):
            walker.doubt()
        _git_paths(walker, place, words[len(head) + 1 :])
    elif len(plain) > 1:
        walker.doubt()
        _git_paths(walker, place, plain[1:])
    elif plain or not values(given, "-b", "-B", "--orphan"):
        walker.doubt()


def _git_switch(walker: Walker, words: list[str], place: Surroundings, stdin: str | None) -> None:
    given, plain = options(walker, words, "cC", "create force-create orphan conflict")
    if has(given, "-f", "-m", "--force", "--merge", "--discard-changes"):
        walker.doubt()
    if plain or not values(given, "-c", "-C", "--create", "--force-create"):
        walker.doubt()


def _git_restore(walker: Walker, words: list[str], place: Surroundings, stdin: str | None) -> None:
    given, plain = options(walker, words, "s", "source conflict pathspec-from-file")
    if has(given, "--staged", "-S") and not has(given, "--worktree", "-W"):
        return
    if has(given, "--pathspec-from-file"):
        walker.doubt()
    _git_paths(walker, place, plain)


def _git_rm(walker: Walker, words: list[str], place: Surroundings, stdin: str | None) -> None:
    given, plain = options(walker, words, "", "pathspec-from-file")
    if has(given, "--cached", "-n", "--dry-run"):
        return
    if has(given, "--pathspec-from-file"):
        walker.doubt()
    _git_paths(walker, place, plain)


def _git_mv(walker: Walker, words: list[str], place: Surroundings, stdin: str | None) -> None:
    given, plain = options(walker, words)
    if not has(given, "-n", "--dry-run"):
        _mv(walker, ["--", *plain], place, stdin)


def _git_clean(walker: Walker, words: list[str], place: Surroundings, stdin: str | None) -> None:
    given, _ = options(walker, words, "e", "exclude")
    if not has(given, "-n", "--dry-run"):
        walker.doubt()


def _git_reset(walker: Walker, words: list[str], place: Surroundings, stdin: str | None) -> None:
    head = words[: words.index("--")] if "--" in words else words
    given, _ = options(walker, head, "U", "pathspec-from-file unified")
    if has(given, "--hard", "--merge", "--keep") or any(len(name) < 5 and name[:2] == "--" for name, _ in given):
        walker.doubt()


def _git_stash(walker: Walker, words: list[str], place: Surroundings, stdin: str | None) -> None:
    if words[:1] not in (["list"], ["show"], ["drop"], ["clear"], ["create"], ["store"]):
        walker.doubt()


def _git_apply(walker: Walker, words: list[str], place: Surroundings, stdin: str | None) -> None:
    given, _ = options(walker, words, "pC", "directory exclude include whitespace build-fake-ancestor")
    looks = has(given, "--check", "--stat", "--numstat", "--summary") and not has(given, "--apply")
    if not looks and not (has(given, "--cached") and not has(given, "--index", "-3", "--3way")):
        walker.doubt()


def _git_clone(walker: Walker, words: list[str], place: Surroundings, stdin: str | None) -> None:
    long = "branch origin depth reference config template upload-pack jobs filter separate-git-dir shallow-since bundle-uri"
    given, plain = options(walker, words, "bocuj", long)
    if has(given, "-c", "--config", "-u", "--upload-pack", "--template", "--separate-git-dir"):
        walker.doubt()
    name = plain[0].rstrip("/").removesuffix("/.git").replace(":", "/").rpartition("/")[2] if plain else HOLE
    walker.tree(place, plain[1] if len(plain) > 1 else name.removesuffix(".git"))


def _git_output(walker: Walker, words: list[str], place: Surroundings, stdin: str | None) -> None:
    """``git archive`` and ``git bundle``."""
    given, plain = options(walker, words, "o", "output format prefix remote exec")
    if has(given, "--exec", "--remote"):
        walker.doubt()
    for word in values(given, "-o", "--output") + (plain[1:2] if plain[:1] == ["create"] else []):
        if word != "-":
            walker.write(place, word)


def _git_patches(walker: Walker, words: list[str], place: Surroundings, stdin: str | None) -> None:
    if "--stdout" not in words:
        walker.doubt()


_GIT_WRITES: dict[str, Handler] = {
    "checkout": _git_checkout, "switch": _git_switch, "restore": _git_restore, "rm": _git_rm, "mv": _git_mv,
    "clean": _git_clean, "reset": _git_reset, "stash": _git_stash, "apply": _git_apply, "clone": _git_clone,
    "archive": _git_output, "bundle": _git_output, "format-patch": _git_patches, "worktree": _only("list prune lock unlock"),
    "bisect": _only("log view"), "submodule": _only("status summary"), "sparse-checkout": _only("list"),
    "read-tree": _doubtful,
}  # fmt: skip


# -- programs: the tables --------------------------------------------------------------------------------------------

PURE = _words(
    ": [ test true false echo pwd type help fg bg disown wait kill ulimit times exit caller logout getconf"
    " printenv getent ls dir vdir eza cat head tail tac rev nl od hexdump hd strings grep egrep fgrep zgrep zcat"
    " bzcat xzcat zstdcat bzgrep xzgrep wc cut tr fold fmt pr expand unexpand paste join comm column colrm look"
    " tsort numfmt seq yes expr factor bc diff diff3 cmp colordiff icdiff stat du df jq gron base32 basenc sum"
    " cksum b2sum md5sum md5 sha1sum sha224sum sha256sum sha384sum sha512sum shasum crc32 basename dirname"
    " realpath readlink pathchk which whereis whatis apropos locate mdfind sleep date cal uptime free vmstat"
    " iostat lscpu lsblk lspci lsusb lsmod lsof ss netstat ping ping6 traceroute dig host nslookup whois ps pgrep"
    " pkill killall pidof pstree top htop nproc arch uname hostname hostnamectl id whoami who w users groups"
    " logname tty stty tput clear reset locale last lastlog finger findmnt sw_vers sysctl dmesg journalctl ip"
    " ifconfig route tokei issues more most cowsay figlet pbcopy pbpaste xclip nm objdump readelf size otool ncal"
    " pinfo sync envsubst gettext ngettext task reserve exa shellcheck yamllint actionlint hadolint lsattr getfacl"
    " getfattr"
)
"""Programs that write no file, whatever their words are."""

TOOLS = _words(
    "python python3 pip pip3 node npm npx yarn pnpm cargo rustc go java javac ruby gem perl gcc cc clang make cmake git"
    " docker kubectl ruff mypy pytest black uv poetry deno bun tsc php dotnet swift"
)
"""Programs that only say their version when they are asked for it."""

HANDLERS: dict[str, Handler] = {
    "cd": _cd, "chdir": _cd, "pushd": _pushd, "popd": _popd, "export": _export, "declare": _local, "typeset": _local,
    "local": _local, "readonly": _readonly, "unset": _unset, "read": _reads, "mapfile": _reads, "readarray": _reads,
    "getopts": _reads, "printf": _printf, "let": _let, "set": _set, "shift": _shift, "eval": _eval, "trap": _trap,
    "break": _doubtful, "continue": _doubtful, "return": _doubtful, "jobs": _bare, "history": _bare, "dirs": _bare,
    "mount": _bare, "hash": _bare, "umask": _bare, "source": _doubtful, ".": _doubtful, "shopt": _doubtful,
    "alias": _doubtful, "enable": _doubtful, "emulate": _doubtful, "setopt": _doubtful, "unalias": _doubtful,
    "exec": _wrapper("a", here=True), "command": _command, "builtin": _command, "noglob": _command,
    "nocorrect": _command, "sh": _shell, "bash": _shell, "dash": _shell, "zsh": _shell, "ksh": _shell, "ash": _shell,
    "mksh": _shell, "env": _env, "sudo": _sudo, "doas": _sudo, "sudoedit": _unsure, "xargs": _xargs, "find": _find,
    "gfind": _find, "fd": _finder, "fdfind": _finder, "rg": _finder, "bat": _finder, "batcat": _finder, "ag": _finder,
    "ack": _finder, "flock": _flock, "watch": _watch, "nice": _wrapper("n", "adjustment"), "nohup": _wrapper(),
    "setsid": _wrapper(), "unbuffer": _wrapper(), "timeout": _wrapper("ks", "kill-after signal", 1),
    "gtimeout": _wrapper("ks", "kill-after signal", 1), "stdbuf": _wrapper("ioe", "input output error"),
    "ionice": _wrapper("cnpP", "class classdata"), "time": _time, "taskset": _wrapper("", "", 1),
    "chrt": _wrapper("TPD", "", 1), "caffeinate": _wrapper("tw"), "busybox": _wrapper(), "toybox": _wrapper(),
    "rlwrap": _wrapper(sure=False), "chroot": _wrapper("", "userspec groups", 1, sure=False),
    "strace": _wrapper("oepsPuEaOSIbX", sure=False), "ltrace": _wrapper("oepsu", sure=False),
    "parallel": _wrapper("jIaC", "jobs arg-file", sure=False), "uv": _runner("run"), "poetry": _runner("run"),
    "pipenv": _runner("run"), "bundle": _runner("exec"), "npx": _runner(), "bunx": _runner(), "pnpx": _runner(),
    "direnv": _doubtful, "mbox": _mbox, "team": _only("status report"),
    "workflow": _only("list show logs explain report lint graph watch"), "tee": _writes(),
    "touch": _writes("drtA", "date reference time"), "truncate": _writes("sr", "size reference"),
    "shred": _writes("ns", "iterations size random-source"), "unlink": _writes(), "rmdir": _writes(), "link": _ln,
    "mkfifo": _writes("mZ", "mode"), "mknod": _writes("mZ", "mode"), "fallocate": _writes("lop", "length offset"),
    "sponge": _writes(), "chown": _writes("", "reference from", 1), "chgrp": _writes("", "reference", 1),
    "chmod": _chmod, "rm": _rm, "trash": _rm, "mkdir": _mkdir, "mv": _mv, "cp": _cp, "gmv": _mv, "gcp": _cp, "grm": _rm,
    "ln": _ln, "install": _install, "ginstall": _install, "rsync": _rsync, "scp": _scp, "dd": _dd, "patch": _patch,
    "apply_patch": _apply_patch, "applypatch": _apply_patch, "gzip": _compress(".gz", False),
    "gunzip": _compress(".gz", True), "pigz": _compress(".gz", False), "bzip2": _compress(".bz2", False),
    "bunzip2": _compress(".bz2", True), "xz": _compress(".xz", False), "unxz": _compress(".xz", True),
    "zstd": _compress(".zst", False), "unzstd": _compress(".zst", True), "tar": _tar, "gtar": _tar, "bsdtar": _tar,
    "zip": _zip, "unzip": _unzip, "curl": _curl, "wget": _wget,
    "sort": _writes_option("okSTt", "output key buffer-size temporary-directory field-separator", "-o --output"),
    "gsort": _writes_option("okSTt", "output key buffer-size temporary-directory field-separator", "-o --output"),
    "shuf": _writes_option("oinr", "output input-range head-count random-source", "-o --output"),
    "tree": _writes_option("oLPIH", "filelimit", "-o"),
    "less": _writes_option("oOpPjxyz", "log-file LOG-FILE", "-o -O --log-file"),
    "base64": _writes_option("oibDw", "output input wrap", "-o --output"),
    "sdiff": _writes_option("owI", "output", "-o --output"), "file": _file,
    "iconv": _writes_option("oft", "output from-code to-code", "-o --output"), "uniq": _uniq, "xxd": _xxd, "sed": _sed,
    "gsed": _sed, "perl": _perl, "ruby": _perl, "awk": _awk, "gawk": _awk, "mawk": _awk, "nawk": _awk, "ed": _unsure,
    "ex": _unsure, "vi": _unsure, "vim": _unsure, "nvim": _unsure, "nano": _unsure, "emacs": _unsure, "code": _unsure,
    "black": _unsure, "gofmt": _unsure, "rustfmt": _unsure, "dos2unix": _unsure, "unix2dos": _unsure, "git": _git,
    "gh": _gh, "npm": _only("ls list view outdated"), "pip": _only("list show freeze check"),
    "pip3": _only("list show freeze check"), "cargo": _only("search"), "go": _only("version doc"),
    "docker": _only("ps images logs inspect version info"), "systemctl": _only("status is-active list-units cat show"),
    "kubectl": _only("get describe logs version", "n", "namespace context"), "brew": _only("list info search deps"),
    "apt": _only("list show search"), "dpkg": _only("-l -L -s -S --list"), "apt-cache": _only("search show policy"),
}  # fmt: skip

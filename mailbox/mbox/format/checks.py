"""Input checks: what agents get wrong, refused with one line that says what would be right.

Promised: a function here returns its text in the form that the rest of the package trusts, or raises `Usage`
(exit 2).  Nothing is "cleaned" in silence: only paths change form (``./x``, ``../x`` and absolute ones become
relative to the root), and then they name the same file.  One-line fields are strict, bodies are not: of a
body only NUL, invalid UTF-8 and oversize are refused, and all else comes back byte for byte.

Not promised: that a name, id or path exists.

Rules: the command line's contract, "Every command", and the names of ``format.md``.  A regular expression is
looked at only when a character it needs is there: compiling one costs more than all the rest of a check.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from mbox.errors import Usage

from .places import is_name


class TooLong(Usage):
    """A text has more bytes than its field may."""


BODY = 256 * 1024
"""The most bytes of a body, payload, description or result."""

_BIDI = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROL = (*range(0x20), *range(0x7F, 0xA0))

HIDDEN = {code: f"\\x{code:02x}" for code in _CONTROL}
HIDDEN |= {code: f"\\u{code:04x}" for code in (*_BIDI, 0x2028, 0x2029)}
HIDDEN |= {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
"""Control and bidi characters and line separators, each with the form that shows it."""

_UNSEEN = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200B), (0x2060, 0x206F),
    (0x2800, 0x2800), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB),
    (0x13441, 0x13442), (0x1BCA0, 0x1BCA3), (0x1D159, 0x1D159), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
"""What shows nothing, or a blank that is no space, where a person would not see what a program reads: the code points that
Unicode says may be ignored (DerivedCoreProperties.txt, "Default_Ignorable_Code_Point") but the joiners, and empty signs.  A
text may have it (flags are tags)."""

_JOINERS = "\u200c\u200d"  # invisible, but part of correct Persian and of emoji

_STYLED = (
    "((?<=[\xa9\xae\u203c\u2049\u2122-\u27bf\u2934-\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001faff])[\ufe0e\ufe0f]"
    "|(?<=[0-9#*])\ufe0f(?=\u20e3))"
)
"""What says that a sign is to be an emoji, or none, behind such a sign."""


class _Forms(dict[int, int | str]):
    """For `str.translate`: a character itself, or the form that shows it; worked out when it is first met."""

    def __init__(self, is_hidden: Callable[[int], bool], plain: Sequence[int] = (), form: str = "") -> None:
        super().__init__(zip(plain, plain, strict=True))
        self._is_hidden, self._only = is_hidden, form

    def __missing__(self, code: int) -> int | str:
        self[code] = form = (self._only or _form(code)) if self._is_hidden(code) else code
        return form


def _form(code: int) -> str:
    if _is_byte(code):
        return f"\\x{code - 0xDC00:02x}"
    return HIDDEN.get(code) or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def _is_byte(code: int) -> bool:
    """Whether it is a byte that is no UTF-8, as ``surrogateescape`` has it."""
    return 0xDC80 <= code <= 0xDCFF


def _is_unseen(code: int) -> bool:
    return code in HIDDEN or _is_byte(code) or any(first <= code <= last for first, last in _UNSEEN)


def _is_unprinted(code: int) -> bool:
    return _is_unclear(code) and chr(code) not in _JOINERS


def _is_unclear(code: int) -> bool:
    return _is_unseen(code) or not chr(code).isprintable()


_SHOWN = _Forms(_is_unseen)
_PROSE = _Forms(_is_unseen, plain=(0x09, 0x0A))
_EXACT = _Forms(_is_unclear)
_PRINTED = _Forms(_is_unprinted, form="\ufffd")


def visible(text: str) -> str:
    """``text`` with control, bidi and invisible characters shown (``\\x1b``), not obeyed; newlines and tabs stay.

    The joiners of scripts and emoji stay too, and what makes a sign an emoji.
    """
    return _told(text, _PROSE)


def on_one_line(text: str) -> str:
    """`visible`, with newlines and tabs shown too."""
    return _told(text, _SHOWN)


def exact(text: str) -> str:
    """`on_one_line`, with joiners, the styles of emoji and every blank but the space shown too: no two texts look the same.

    But for letters that resemble one another.
    """
    return text if text.isascii() and text.isprintable() else text.translate(_EXACT)


def _told(text: str, forms: _Forms) -> str:
    if text.isascii() and text.isprintable():
        return text
    if "\ufe0e" not in text and "\ufe0f" not in text:
        return text.translate(forms)
    return "".join(part if n % 2 else part.translate(forms) for n, part in enumerate(re.split(_STYLED, text)))


def quoted(text: str, most: int = 60) -> str:
    """``text`` as an error message quotes it: on one line, shown, shortened."""
    return f"'{on_one_line(text if len(text) <= most else text[:most] + '…')}'"


def shown(value: Any) -> str:
    """``value`` as a message shows it: JSON, short."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return quoted(value) if isinstance(value, str) else json.dumps(value)[:60]


def few(words: Sequence[str], most: int = 8) -> str:
    """The first of ``words`` as a message lists them, and how many more there are."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


# -- names and ids ------------------------------------------------------------------------------------------


def name(kind: str, text: str) -> str:
    """``text``, if it may name a ``kind`` (agent, team…): ``[a-z0-9][a-z0-9._-]{0,63}``, no device name."""
    if is_name(text):
        return text
    near = "-".join(text.lower().split()).strip("-._@#")
    rule = "a-z 0-9 . _ - (at most 64, a letter or digit first, no device name such as con or com1)"
    raise Usage(f"{kind} name {quoted(text)}: use {rule}{_mean(near if is_name(near) else '')}")


def ident(text: str) -> str:
    """``text``, if it can be the id of a message, task or reservation."""
    if is_name(text):
        return text
    words = [_bare_id(word) for word in text.replace(",", " ").split()]
    if len(words) > 1 and all(map(is_name, words)):
        raise Usage(f"not an id: {quoted(text)}; one id at a time: {', '.join(words)}")
    near = words[0] if len(words) == 1 and is_name(words[0]) else ""
    raise Usage(f"not an id: {quoted(text)}; ids are such as m12, t45 or r7{_mean(near)}")


def given_task_id(text: str) -> str:
    """``text``, if a new task may have it as id: a name, never ``[mtr][0-9]+``, which the toolkit makes."""
    name("task", text)
    if text[0] in "mtr" and text[1:].isdecimal():
        raise Usage(f"task id {quoted(text)}: such ids are given out by the toolkit; take task-{text[1:]}")
    return text


def _bare_id(word: str) -> str:
    """The id in ``#T45`` or ``.tasks/t45.json``."""
    return word.lower().rpartition("/")[2].removesuffix(".json").strip("#.:;'\"")


def _mean(near: str) -> str:
    return f"; did you mean {near}?" if near else ""


# -- paths and patterns ------------------------------------------------------------------------------------

Exists = Callable[[str], bool]


def unquoted(line: str) -> str:
    r"""The path in a line that git prints: ``"docs/\350\250\255.md"`` is quoted as in C (git-config(1), ``core.quotePath``).

    Any other line is left as it is; what is no UTF-8 in the path stays as the surrogates of ``surrogateescape``.
    """
    if line[:1] != '"' or "\\" not in line or not re.fullmatch(_QUOTED, line):
        return line

    def meant(found: re.Match[bytes]) -> bytes:
        return bytes([_LETTERS.get(found[1][0]) or int(found[1], 8)])

    data = re.sub(rb'\\([abtnvfr"\\]|[0-7]{3})', meant, line[1:-1].encode("utf-8", "surrogateescape"))
    return data.decode("utf-8", "surrogateescape")


_QUOTED = r'"(?:[^"\\]|\\(?:[abtnvfr"\\]|[0-3][0-7]{2}))+"'
_LETTERS = dict(zip(b'abtnvfr"\\', b'\a\b\t\n\v\f\r"\\', strict=True))


def path(
    text: str, root: str, cwd: str, worktrees: Sequence[str] = (), exists: Exists = os.path.lexists
) -> str:
    """The path ``text`` relative to the root, with ``/``.

    ``./x`` and ``../x`` start at ``cwd``, other paths at the root; absolute ones must lie inside ``root`` or
    one of its linked ``worktrees`` (all given absolute and resolved).  ``exists`` says whether anything is at
    an absolute path: what is there letter by letter (``routes/$id.tsx``) is taken at its word.  A plain path
    that is there only from where the caller stands is refused with the path it should have been.
    """
    ground = _Ground(root, cwd, worktrees, exists)
    relative = _joined(*ground.split("path", text))
    if not ground.has(relative):
        ground.refuse_misplaced("path", text)
        _refuse_mistakes("path", text)
        if "\\" in text:
            raise Usage(f"path {quoted(text)}: the separator is /{_mean(_slashed(text))}")
    return relative


def pattern(
    text: str, root: str, cwd: str, worktrees: Sequence[str] = (), exists: Exists = os.path.lexists
) -> str:
    r"""The pattern ``text`` relative to the root; as `path`, with these differences.

    ``* ? [...] {a,b} **`` and ``\`` before a special character are left as they are.  What is, letter by
    letter, an existing path (``app/[id]/page.tsx``) means that path and comes back escaped, and so does the
    folder that a leading ``./`` or ``../`` stands for.
    """
    from .patterns import escape

    ground = _Ground(root, cwd, worktrees, exists)
    folder, rest = ground.split("pattern", text)
    relative = _joined(folder, rest)
    if ground.has(relative):
        return escape(relative)
    ground.refuse_misplaced("pattern", text)
    _refuse_mistakes("pattern", text)
    if "\\" in text and re.search(r"(?<!\\)(?:\\\\)*\\(?:[\w./]|$)", text):
        only = "in a pattern \\ only escapes * ? [ ] { }"
        raise Usage(f"pattern {quoted(text)}: the separator is / ({only}){_mean(_slashed(text))}")
    return _joined(escape(folder), rest)


class _Ground:
    """Where paths are judged from: the root, its worktrees, where the caller stands, and what exists."""

    __slots__ = ("cwd", "exists", "root", "tops")

    def __init__(self, root: str, cwd: str, worktrees: Sequence[str], exists: Exists) -> None:
        self.root, self.cwd, self.exists = root, cwd, exists
        self.tops = sorted((root, *worktrees), key=len, reverse=True)

    def split(self, kind: str, text: str) -> tuple[str, str]:
        """The folder that ``text`` starts from, relative to the root and literal, and what it adds."""
        if not text.strip("\t "):
            raise Usage(f"{kind} is empty: name a file or folder relative to {self.root}")
        if len(text) > LONGEST_PATH:
            raise Usage(f"{kind} {quoted(text)} has {len(text)} characters: at most {LONGEST_PATH}")
        _refuse_hidden(f"{kind} {quoted(text)}", text)
        folder, segments = "", text.split("/")
        if text.startswith("/"):
            segments = self.inside(kind, text, text).split("/")
        elif segments[0] in (".", ".."):
            start = self.cwd
            if not start:
                raise Usage(f"{kind} {quoted(text)}: the folder you stand in is gone; say it relative to {self.root}")
            while segments and segments[0] in ("", ".", ".."):
                start = os.path.dirname(start) if segments.pop(0) == ".." else start
            folder = self.inside(kind, text, start)
        rest = "/".join(segment for segment in segments if segment not in ("", "."))
        self.refuse_climbing(kind, text, folder, rest)
        return folder, rest

    def inside(self, kind: str, text: str, absolute: str) -> str:
        """``absolute`` relative to the innermost of the root and its worktrees that holds it."""
        for candidate in (absolute, os.path.realpath(absolute)):
            top = self.top(candidate)
            if top is not None:
                return candidate[len(top) :].strip("/")
        raise Usage(f"{kind} {quoted(text)} is outside the root {self.root}: name something in it")

    def top(self, absolute: str) -> str | None:
        return next((top for top in self.tops if f"{absolute}/".startswith(f"{top.rstrip('/')}/")), None)

    def has(self, relative: str) -> bool:
        """Whether ``relative`` is there letter by letter, in the root or in the caller's worktree."""
        return any(self.exists(f"{top}/{relative}") for top in {self.root, self.top(self.cwd) or self.root})

    def refuse_climbing(self, kind: str, text: str, folder: str, rest: str) -> None:
        if ".." in rest.split("/"):
            near = os.path.normpath(_joined(folder, rest))
            near = "" if near[:2] in ("..", ".") else near
            raise Usage(f"{kind} {quoted(text)} contains '..': say where that is{_mean(near)}")
        if not folder and not rest:
            raise Usage(f"{kind} {quoted(text)} is the root itself: name something in it ('**' is all of it)")

    def refuse_misplaced(self, kind: str, text: str) -> None:
        """Refuse ``a.py`` from a folder that has it when the root has none: paths start at the root."""
        top = self.top(self.cwd)
        plain = text[0] != "/" and text.split("/")[0] not in (".", "..")
        if plain and top is not None and self.exists(f"{self.cwd}/{text}"):
            near = _joined(self.cwd[len(top) :].strip("/"), text)
            raise Usage(f"{kind} {quoted(text)} is not in {self.root}, where paths start{_mean(near)}")


def _joined(folder: str, rest: str) -> str:
    return f"{folder}/{rest}" if folder and rest else folder or rest


def _refuse_mistakes(kind: str, text: str) -> None:
    """Refuse what a shell, a template or an encoder left behind."""
    at = f"{kind} {quoted(text)}"
    if ("$" in text or "`" in text) and re.search(r"(?<!\\)(?:\$[A-Za-z_{(]|`)", text):
        real = " (a real $ is \\$)" if kind == "pattern" else ""
        raise Usage(f"{at}: the shell did not expand it; use double quotes, or say the {kind} itself{real}")
    if "{{" in text:
        raise Usage(f"{at}: the template {{{{…}}}} was not filled in; say the {kind} itself")
    if "%" in text and re.search(r"%[0-9A-Fa-f]{2}", text):
        raise Usage(f"{at} is percent-encoded{_mean(_decoded(text)) or f'; say the {kind} itself'}")
    if text != text.strip():
        raise Usage(f"{at} starts or ends with a space{_mean(quoted(text.strip()))}")
    if text[0] == "~":
        raise Usage(f"{at}: ~ is not expanded; say the {kind} relative to the root")
    if "://" in text or (text[1:2] == ":" and text[2:3] in ("/", "\\")):
        raise Usage(f"{at} is outside the root: say the {kind} relative to it")


def _decoded(text: str) -> str:
    """``text`` percent-decoded as often as it was encoded; nothing if that is no plain path."""
    from urllib.parse import unquote

    while (plain := unquote(text)) != text:
        text = plain
    harmless = text.isprintable() and text == text.strip() and not text.startswith(("/", "~"))
    return text if harmless and ".." not in text and "\ufffd" not in text else ""


def _slashed(text: str) -> str:
    """``text`` with the other separator; nothing if that would climb out."""
    near = text.replace("\\", "/").strip("/")
    return "" if ".." in near else near


# -- text ---------------------------------------------------------------------------------------------------


def line(field: str, text: str, limit: int = 200) -> str:
    """``text``, if it fits a one-line field (subject, title, reason).

    ``$5`` and ``{x}`` may stand in it; ``$VAR``, ``${VAR}``, ``{{…}}``, newlines, control and bidi characters
    may not.
    """
    if not text.strip():
        raise Usage(f"{field} is empty: say something in one line")
    if len(text) > limit:  # before anything is looked for in it
        raise Usage(f"{field} has {len(text)} characters: at most {limit}; the rest belongs in the body")
    _refuse_hidden(field, text)
    if "$" in text and (found := re.search(r"\$\{?[A-Za-z_][A-Za-z0-9_]*", text)):
        raise Usage(f"{field}: the shell did not expand {found[0]}; use double quotes, or leave the $ out")
    if "{{" in text and (found := re.search(r"\{\{.*?\}\}", text)):
        raise Usage(f"{field}: the template {quoted(found[0])} was not filled in; say what it stands for")
    return text


def text(field: str, value: str | bytes, limit: int = BODY) -> str:
    """``value`` as text, whatever it says; only NUL, invalid UTF-8 and over ``limit`` bytes are refused."""
    try:
        data = value if isinstance(value, bytes) else value.encode()
        if len(data) > limit:
            raise TooLong(f"{field} is over {limit} bytes: put it in a file and send the path")
        said = data.decode()
    except UnicodeError as error:
        raise Usage(f"{field} is not UTF-8: {_half(error)}or put it in a file and send the path") from None
    if "\0" in said:
        raise Usage(f"{field} contains NUL: put it in a file and send the path")
    return said


def _half(error: UnicodeError) -> str:
    """What is to be done about text that is none: a byte that stands for no character, or half of one that was escaped."""
    found = str(error.object[error.start]) if isinstance(error, UnicodeEncodeError) else ""
    return f"{found!a} is half a character; leave it out, " if found and not "\udc80" <= found <= "\udcff" else "convert it, "


def shown_whole(field: str, text: str) -> str:
    """``text``, if all of it can be shown: nothing hidden, and UTF-8."""
    _refuse_hidden(f"{field} {quoted(text)}", text)
    return text


def _refuse_hidden(field: str, text: str) -> None:
    """Refuse control and bidi characters, line separators, and what is no UTF-8."""
    if text.isprintable():
        return
    for char in text:
        if ord(char) in HIDDEN:
            kind = "a line break" if char in "\r\n\u2028\u2029" else "a control or bidi character"
            raise Usage(f"{field} contains {kind} ({HIDDEN[ord(char)]}): leave it out")
        if "\ud800" <= char <= "\udfff":
            raise Usage(f"{field} is not UTF-8: rename or convert it")


LONGEST_PATH = 4096
"""The most characters of a path: what the system takes."""

TITLE = 200
"""The most characters of a title or reason."""


def one_line(text: object, most: int = 0) -> str:
    """``text`` as one line that is safe to show: white space as single spaces, what cannot be printed as ``\ufffd``.

    Longer than ``most`` characters (0 is any length), it ends in ``…``.
    """
    line = " ".join(str(text).split())
    if not (line.isascii() and line.isprintable()):
        line = "".join(part if n % 2 else part.translate(_PRINTED) for n, part in enumerate(re.split(_STYLED, line)))
    return f"{line[: most - 1]}…" if 0 < most < len(line) else line

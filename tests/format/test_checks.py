"""What agents get wrong is refused with a line that says what would be right; the rest passes untouched."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mbox import errors
from mbox.errors import Usage
from mbox.format import checks
from mbox.format.places import is_name

ROOT = "/work/repo"
SUB = f"{ROOT}/src/deep"
LINKED = "/work/linked"
NESTED = f"{ROOT}/.claude/worktrees/fix"

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
ODD = "abc./\\$%{}*?[]~`:()2eEfF -\n\t\x00\x1b\x7f\x9b\u202e\u2066é漢\udcff"
HOSTILE = st.text(st.sampled_from(ODD), max_size=30)
SEGMENT = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,8}[A-Za-z0-9_]", fullmatch=True)
SEGMENTS = st.lists(SEGMENT, min_size=1, max_size=4)
CHECKS: list[Callable[[str], str]] = [
    lambda text: checks.name("agent", text),
    checks.ident,
    checks.given_task_id,
    lambda text: checks.path(text, ROOT, SUB, [LINKED], nothing),
    lambda text: checks.pattern(text, ROOT, SUB, [LINKED], nothing),
    lambda text: checks.line("--subject", text),
    lambda text: checks.text("--body", text),
]


def nothing(path: str) -> bool:
    """No file exists."""
    return False


def only(*paths: str) -> Callable[[str], bool]:
    """Just these exist."""
    return lambda path: path in paths


def refused(check: Callable[[], object]) -> str:
    """The line with which ``check`` refuses."""
    with pytest.raises(Usage) as caught:
        check()
    return str(caught.value)


@pytest.mark.parametrize("check", CHECKS)
@given(text=HOSTILE | st.text())
@example("a" * 5000 + "\n")
@example("{{" + "\u2066" * 200 + "}}")
def test_a_refusal_is_one_short_line_that_shows_and_does_not_obey(
    check: Callable[[str], str], text: str
) -> None:
    """Whatever is passed, a check returns text or raises `Usage` with a line without control characters."""
    try:
        check(text)
    except Usage as error:
        assert not set(str(error)) & {chr(code) for code in checks.HIDDEN}
        assert len(str(error)) < 600


# ---- showing


def test_visible_shows_what_a_terminal_would_obey() -> None:
    """Escapes, C1 controls, carriage returns and bidi controls are shown; newlines, tabs and letters stay."""
    assert checks.visible("a\x1b[31m\x9b\r\u202eb\n\té漢👩‍🚀") == "a\\x1b[31m\\x9b\\r\\u202eb\n\té漢👩‍🚀"
    assert checks.on_one_line("a\nb\tc\u2028d") == "a\\nb\\tc\\u2028d"
    assert checks.visible("a\ufeffb\U000e0041\u200bc") == "a\\ufeffb\\U000e0041\\u200bc"


UNSEEN = (0xAD, 0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180F, 0x2065, 0x2800, 0x3164, *range(0xFE00, 0xFE10), 0xFFA0,
          0xFFF0, 0x13441, 0x1BCA0, *range(0x1D173, 0x1D17B), 0xE0001, 0xE0100, 0xE01EF, 0xE0FFF)  # fmt: skip


@pytest.mark.parametrize("code", UNSEEN, ids=hex)
def test_what_shows_nothing_is_shown(code: int) -> None:
    """Between letters, at the beginning, and again and again behind a sign."""
    char = chr(code)
    form = f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    for show in (checks.visible, checks.on_one_line, checks.exact):
        assert show(f"sleep{char}60{char}") == f"sleep{form}60{form}"
        assert show(char) == form and show(f"é{char}") == f"é{form}"
        assert show(f"❤\ufe0f{char}").endswith(form)
    assert checks.one_line(f"a{char}b") == "a\ufffdb"


def test_texts_of_people_stay_as_they_are() -> None:
    """Emoji with their styles, joined ones, keycaps, Persian, Hangul, Braille, spaces; not where a yes is for each character."""
    for text in ("❤\ufe0f 1\ufe0f\u20e3 ☎\ufe0e 👩‍🚀 🏳\ufe0f‍🌈", "می‌خواهم", "한글", "⠓⠊", "un\xa0mot", "漢字\u3000"):
        assert checks.visible(text) == text == checks.on_one_line(text)
    assert checks.exact("❤\ufe0f1\u200d \xa0é漢") == "❤\\ufe0f1\\u200d \\u00a0é漢"
    assert "\U000e0041" not in checks.quoted("x\U000e0041y") and checks.one_line("x\ufeff") == "x\ufffd"


def test_quoted_shortens() -> None:
    """A quoted text is cut at 60 characters and says so."""
    assert checks.quoted("x" * 61) == f"'{'x' * 60}…'"
    assert checks.quoted("x" * 60) == f"'{'x' * 60}'"


# ---- names and ids


@given(NAMES)
def test_names_pass_untouched(text: str) -> None:
    """Exactly what the format allows passes, device names apart."""
    device = re.fullmatch(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?", text)
    if device:
        refused(lambda: checks.name("agent", text))
    else:
        assert checks.name("agent", text) == text == checks.ident(text)


@given(st.text(max_size=70))
@example("ann\n")
@example("a" * 65)
@example("con.txt")
@example("é")
def test_nothing_else_is_a_name(text: str) -> None:
    """What the format does not allow is refused, never cleaned."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", text):
        refused(lambda: checks.name("agent", text))


@pytest.mark.parametrize(
    ("given", "near"),
    [("Ann", "ann"), ("Claude Code", "claude-code"), (".ann", "ann"), ("@ann", "ann"), ("GPT-5", "gpt-5")],
)
def test_a_refused_name_suggests_the_right_form(given: str, near: str) -> None:
    """Upper case, spaces and leading marks are the usual mistakes; the line says the name that would do."""
    assert refused(lambda: checks.name("agent", given)).endswith(f"; did you mean {near}?")


@pytest.mark.parametrize(
    "given", ["", "é", "con", "nul", "com1", "lpt9.log", "aux.tar.gz", "a/b", "..", "a" * 65]
)
def test_a_name_without_a_near_form_says_the_rule(given: str) -> None:
    """Where nothing near is a name (a device name, another alphabet) the rule is said, and nothing wrong."""
    line = refused(lambda: checks.name("team", given))
    assert line.startswith("team name '")
    assert "a-z 0-9 . _ -" in line
    assert "did you mean" not in line


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("T45", "t45"),
        ("#t45", "t45"),
        (".tasks/t45.json", "t45"),
        ("t45.", "t45."),
        ("'m1'", "m1"),
        (" r7 ", "r7"),
    ],
)
def test_a_refused_id_suggests_the_right_form(given: str, near: str) -> None:
    """Case, a hash, a file name and quotes around an id are recognised."""
    if is_name(given):
        assert checks.ident(given) == near
    else:
        assert refused(lambda: checks.ident(given)).endswith(f"; did you mean {near}?")


@pytest.mark.parametrize("given", ["t1,t2", "t1 t2", "T1, t2"])
def test_several_ids_in_one_word_are_told_apart(given: str) -> None:
    """A list where one id is due is refused with its parts."""
    assert refused(lambda: checks.ident(given)).endswith("one id at a time: t1, t2")


@pytest.mark.parametrize("given", ["t1", "m007", "r12345678901"])
def test_ids_that_the_toolkit_makes_cannot_be_given(given: str) -> None:
    """``[mtr][0-9]+`` is never accepted as a given id; the line names one that would be."""
    line = refused(lambda: checks.given_task_id(given))
    assert checks.given_task_id(line.rpartition(" ")[2]) == f"task-{given[1:]}"


@pytest.mark.parametrize("given", ["t", "task-1", "t1a", "x1", "1", "tt1"])
def test_other_names_can_be_given(given: str) -> None:
    """Only the toolkit's own form is kept back."""
    assert checks.given_task_id(given) == given


# ---- paths


@pytest.mark.parametrize(
    ("text", "cwd", "expected"),
    [
        ("src/a.py", ROOT, "src/a.py"),
        ("src/a.py", SUB, "src/a.py"),
        ("src//a.py", ROOT, "src/a.py"),
        ("src/./a.py", ROOT, "src/a.py"),
        ("src/", ROOT, "src"),
        (".github/x.yml", ROOT, ".github/x.yml"),
        ("..a/b", ROOT, "..a/b"),
        ("./a.py", ROOT, "a.py"),
        ("./a.py", SUB, "src/deep/a.py"),
        (".//a.py", SUB, "src/deep/a.py"),
        ("../a.py", SUB, "src/a.py"),
        ("../../a.py", SUB, "a.py"),
        ("./../a.py", SUB, "src/a.py"),
        (".", SUB, "src/deep"),
        ("..", SUB, "src"),
        (f"{ROOT}/src/a.py", "/elsewhere", "src/a.py"),
        (f"{ROOT}//src/", ROOT, "src"),
        (f"{LINKED}/src/a.py", ROOT, "src/a.py"),
        ("./a.py", f"{LINKED}/src", "src/a.py"),
        (f"{NESTED}/src/a.py", ROOT, "src/a.py"),
        ("./a.py", f"{NESTED}/src", "src/a.py"),
        ("100%.txt", ROOT, "100%.txt"),
        ("a b/c.txt", ROOT, "a b/c.txt"),
        ("cost$5", ROOT, "cost$5"),
        ("päth/漢.txt", ROOT, "päth/漢.txt"),
    ],
)
def test_paths_become_relative_to_the_root(text: str, cwd: str, expected: str) -> None:
    """Plain ones as they are, ``./`` and ``../`` from the caller, absolute ones inside root or worktree."""
    assert checks.path(text, ROOT, cwd, [LINKED, NESTED], nothing) == expected
    assert checks.pattern(text, ROOT, cwd, [LINKED, NESTED], nothing) == expected


@pytest.mark.parametrize(
    ("text", "cwd", "says"),
    [
        ("", ROOT, "is empty"),
        ("  ", ROOT, "is empty"),
        (".", ROOT, "is the root itself"),
        (f"{ROOT}/", SUB, "is the root itself"),
        ("../..", SUB, "is the root itself"),
        ("../x", ROOT, f"outside the root {ROOT}"),
        ("../../../x", SUB, f"outside the root {ROOT}"),
        ("./x", "/elsewhere", f"outside the root {ROOT}"),
        ("/etc/passwd", ROOT, f"outside the root {ROOT}"),
        (f"{ROOT}2/x", ROOT, f"outside the root {ROOT}"),
        ("src/../../etc/passwd", ROOT, "contains '..'"),
        ("src/../lib/x", ROOT, "did you mean lib/x?"),
        ("./src/../lib/x", SUB, "did you mean src/deep/lib/x?"),
        (f"{ROOT}/../etc/passwd", ROOT, "contains '..'"),
        ("src/..", ROOT, "contains '..'"),
        ("%2e%2e/etc/passwd", ROOT, "is percent-encoded"),
        ("%252e%252e%252fetc", ROOT, "is percent-encoded"),
        ("..%2f..%2fetc", ROOT, "is percent-encoded"),
        ("src%2Fa.py", ROOT, "did you mean src/a.py?"),
        ("src%252Fa.py", ROOT, "did you mean src/a.py?"),
        ("a%20b.py", ROOT, "did you mean a b.py?"),
        ("a%00b", ROOT, "say the"),
        ("$SRC/a.py", ROOT, "the shell did not expand it"),
        ("${SRC}/a.py", ROOT, "the shell did not expand it"),
        ("$(pwd)/a.py", ROOT, "the shell did not expand it"),
        ("`pwd`/a.py", ROOT, "the shell did not expand it"),
        ("src/{{file}}", ROOT, "was not filled in"),
        ("~/a.py", ROOT, "~ is not expanded"),
        ("file:///etc/passwd", ROOT, "is outside the root"),
        ("C:/x/a.py", ROOT, "is outside the root"),
        ("C:\\x\\a.py", ROOT, "is outside the root"),
        (" a.py", ROOT, "did you mean 'a.py'?"),
        ("a.py ", ROOT, "did you mean 'a.py'?"),
        ("src\\a.py", ROOT, "did you mean src/a.py?"),
        ("..\\..\\etc", ROOT, "the separator is /"),
        ("a\nb", ROOT, "line break (\\n)"),
        ("a\x1b[0m", ROOT, "(\\x1b)"),
        ("a\x00b", ROOT, "(\\x00)"),
        ("a\u202eyp.b", ROOT, "(\\u202e)"),
        ("a\udcffb", ROOT, "is not UTF-8"),
    ],
)
@pytest.mark.parametrize("check", [checks.path, checks.pattern])
def test_wrong_paths_are_refused(check: Callable[..., str], text: str, cwd: str, says: str) -> None:
    """Traversal, outside paths, encodings, unexpanded variables: refused, with what would be right."""
    line = refused(lambda: check(text, ROOT, cwd, [LINKED], nothing))
    assert says in line
    assert "did you mean .." not in line


@given(SEGMENTS)
def test_a_good_path_is_the_same_however_it_is_said(names: list[str]) -> None:
    """Relative to the root, absolute, from a folder below, in a linked worktree: one path, one answer."""
    path = "/".join(names)
    for text, cwd in [
        (path, ROOT),
        (f"{ROOT}/{path}", SUB),
        (f"./{path}", ROOT),
        (f"../../{path}", SUB),
        (f"{LINKED}/{path}", ROOT),
        (f"./{path}", LINKED),
    ]:
        assert checks.path(text, ROOT, cwd, [LINKED], nothing) == path


@given(HOSTILE)
def test_what_passes_is_below_the_root(text: str) -> None:
    """No text comes through that is absolute, climbs, is empty, or holds what a later shell might expand."""
    for check in (checks.path, checks.pattern):
        try:
            passed = check(text, ROOT, SUB, [LINKED], nothing)
        except Usage:
            continue
        assert passed
        assert not {"", ".", ".."} & set(passed.split("/"))
        assert not re.search(r"(?<!\\)\$[A-Za-z_{(]|%[0-9a-fA-F]{2}|\{\{|[\x00-\x1f]", passed)


@pytest.mark.parametrize(
    "text", ["routes/$id.tsx", "app/%5Fprivate/x.ts", "weird\\name", " spaced ", "{{x}}.tmpl", "~a"]
)
def test_an_existing_path_is_taken_at_its_word(text: str) -> None:
    """What is there letter by letter is meant, however it looks; it is refused only while it is not there."""
    there = only(f"{ROOT}/{text}")
    assert checks.path(text, ROOT, ROOT, [], there) == text
    assert checks.pattern(text, ROOT, ROOT, [], there).replace("\\\\", "\\").replace("\\{", "{") == text
    refused(lambda: checks.path(text, ROOT, ROOT, [], nothing))


@pytest.mark.parametrize("check", [checks.path, checks.pattern])
def test_a_plain_path_from_a_subfolder(check: Callable[..., str]) -> None:
    """``a.py`` from ``src/deep``, which has it while the root has none: refused, with the right path."""
    there = only(f"{SUB}/a.py")
    assert refused(lambda: check("a.py", ROOT, SUB, [], there)).endswith("; did you mean src/deep/a.py?")
    assert check("./a.py", ROOT, SUB, [], there) == "src/deep/a.py"
    assert check("new.py", ROOT, SUB, [], there) == "new.py"
    assert check("a.py", ROOT, SUB, [], only(f"{SUB}/a.py", f"{ROOT}/a.py")) == "a.py"


def test_a_plain_path_in_a_linked_worktree() -> None:
    """A worktree has its own files: what its top has is not misplaced, what only its subfolder has is."""
    cwd = f"{LINKED}/src"
    both = only(f"{cwd}/a.py", f"{LINKED}/a.py")
    assert checks.path("a.py", ROOT, cwd, [LINKED], both) == "a.py"
    line = refused(lambda: checks.path("a.py", ROOT, cwd, [LINKED], only(f"{cwd}/a.py")))
    assert line.endswith("; did you mean src/a.py?")


def test_a_path_through_a_symlink_to_the_root(tmp_path: Path) -> None:
    """An absolute path that reaches the root by another name is inside it; the real disk is asked."""
    root = tmp_path.resolve() / "repo"
    (root / "src").mkdir(parents=True)
    (root / "src" / "$x.py").touch()
    os.symlink(root, tmp_path / "alias")
    assert checks.path(f"{tmp_path}/alias/src/new.py", str(root), str(root)) == "src/new.py"
    assert checks.path("src/$x.py", str(root), str(root)) == "src/$x.py"
    assert "did you mean src/$x.py?" in refused(lambda: checks.path("$x.py", str(root), f"{root}/src"))


# ---- patterns


@pytest.mark.parametrize(
    "text",
    [
        *("*.py", "**/*.py", "src/**", "src/{a,b}.py", "src/{a,{b,c}}", "a[0-9].py", "a[!x]?"),
        *("app/\\[id\\]/*", "\\*", "x\\{y", "routes/\\$id.tsx", "routes/[$]id.tsx", "a\\\\\\*b"),
    ],
)
def test_patterns_pass_untouched(text: str) -> None:
    """Wildcards, classes, braces and escapes are what patterns are made of."""
    assert checks.pattern(text, ROOT, ROOT, [], nothing) == text


@pytest.mark.parametrize("text", ["src\\*.py\\a", "src\\a*.py", "a\\", "a\\\\\\b", "src\\deep\\*.py"])
def test_a_backslash_as_separator_is_refused(text: str) -> None:
    """Before a letter, or last, a backslash is no escape that anybody needs but a foreign separator."""
    assert "the separator is /" in refused(lambda: checks.pattern(text, ROOT, ROOT, [], nothing))


def test_an_existing_path_as_pattern_is_escaped() -> None:
    """``app/[id]/page.tsx`` means that file if it is there, and a class if not."""
    text = "app/[id]/page.tsx"
    assert checks.pattern(text, ROOT, ROOT, [], only(f"{ROOT}/{text}")) == "app/\\[id]/page.tsx"
    assert checks.pattern(text, ROOT, ROOT, [], nothing) == text


def test_the_callers_folder_is_taken_literally() -> None:
    """From ``app/[id]``, ``./*.tsx`` is below that folder; its brackets are no class."""
    cwd = f"{ROOT}/app/[id]"
    assert checks.pattern("./*.tsx", ROOT, cwd, [], nothing) == "app/\\[id]/*.tsx"
    assert checks.pattern(".", ROOT, cwd, [], nothing) == "app/\\[id]"
    assert checks.pattern("../*", ROOT, cwd, [], nothing) == "app/*"


# ---- text


@pytest.mark.parametrize(
    "text",
    [
        *("Cost is $5", "US$ 10, 100%", "{x} and {y}", "use `make`", "a $ b", "naïve 漢字 👩‍🚀"),
        *('it\'s "done"', "C:\\new", "{{ open"),
    ],
)
def test_ordinary_lines_pass_untouched(text: str) -> None:
    """What people write in a title is not mistaken for a mistake."""
    assert checks.line("--subject", text) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("use $HOME in docs", "did not expand $HOME"),
        ("see ${TICKET_1}", "did not expand ${TICKET_1"),
        ("fix $_x", "did not expand $_x"),
        ("Review {{ticket}}", "'{{ticket}}' was not filled in"),
        ("a\nb", "a line break (\\n)"),
        ("a\u2028b", "a line break (\\u2028)"),
        ("a\tb", "(\\t)"),
        ("a\x1b]0;x\x07", "(\\x1b)"),
        ("a\u202eb", "(\\u202e)"),
        ("a\udcff", "is not UTF-8"),
        ("x" * 201, "201 characters: at most 200"),
    ],
)
def test_wrong_lines_are_refused(text: str, says: str) -> None:
    """Unexpanded variables, unfilled templates, line breaks, control characters; the field is named."""
    line = refused(lambda: checks.line("--subject", text))
    assert says in line
    assert line.startswith("--subject")


def test_the_limit_of_a_line_is_in_characters() -> None:
    """200 characters pass, whatever they weigh."""
    assert checks.line("TITLE", "漢" * 200) == "漢" * 200
    refused(lambda: checks.line("TITLE", "abc", limit=2))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
@example("'''C:\\new $HOME {{x}} 100% \x1b[0m \r\n \ufeff\u202e")
def test_bodies_come_back_byte_for_byte(text: str) -> None:
    """Everything but NUL passes untouched, as text and as UTF-8 bytes."""
    assert checks.text("--body", text) == text
    assert checks.text("--body", text.encode()) == text


@pytest.mark.parametrize("value", ["a\0b", b"a\0b", b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80", "a\udce9"])
def test_what_is_no_text_is_refused(value: str | bytes) -> None:
    """NUL and invalid UTF-8, from a file and from the command line (where Python makes surrogates of it)."""
    assert refused(lambda: checks.text("--body", value)).startswith("--body ")


def test_the_limit_of_a_body_is_in_bytes() -> None:
    """256 KiB pass, one byte more is refused with the mend."""
    assert len(checks.text("--body", "é" * (checks.BODY // 2))) == checks.BODY // 2
    line = refused(lambda: checks.text("--body", "é" * (checks.BODY // 2) + "x"))
    assert line == "--body is over 262144 bytes: put it in a file and send the path"


def test_a_very_long_text_is_refused_before_it_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too long anyway is never given to a regular expression, which could take the square of its length."""
    monkeypatch.setattr(checks, "re", None)
    with pytest.raises(Usage, match="40000 characters"):
        checks.line("title", "{{" * 20_000)
    for check in (checks.path, checks.pattern):
        with pytest.raises(Usage, match="20003 characters"):
            check("%" + "25" * 10_000 + "41", "/r", "/r")


def test_of_very_many_names_few_are_compared_letter_by_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suggestion among ten thousand names is still the nearest, and costs as much as among a few hundred."""
    import difflib

    given: list[int] = []
    plain = difflib.get_close_matches

    def counted(word: str, choices: list[str], **more: Any) -> list[str]:
        given.append(len(choices))
        return plain(word, choices, **more)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    names = [f"agent-{'b' * 40}-{n:05d}" for n in range(10_000)]
    assert errors.nearest(f"agent-{'b' * 40}-0777", names)[0].count("077") == 1
    assert given == [errors.COMPARED]

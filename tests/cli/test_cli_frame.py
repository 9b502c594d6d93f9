"""The frame of the command line: which command runs, with what, and how every call ends.

The commands here are dummies put into the table; the real ones have tests of their own.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import pty
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import mbox
from clikit import Program
from conftest import Run
from mbox import errors
from mbox.cli import options, values
from mbox.cli.context import Context
from mbox.cli.options import argument, command, option, words
from mbox.cli.table import ABOUT, PROGRAMS, TABLES, described
from mbox.root import refuse_gone
from mbox.store.transaction import Actor

PACKAGE = Path(__file__).resolve().parents[2] / "mailbox"
Call = Callable[..., Result]

LATER = ["top", "notify", "link"]


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests reaches a command."""
    for name in ("MBOX_AGENT", "MBOX_ROOT", "MBOX_INCARNATION", "MBOX_DEBUG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a declared command into a table, in place of what is there."""
    dummies = types.ModuleType("dummies")
    monkeypatch.setitem(sys.modules, "dummies", dummies)

    def put(name: str, body: options.Body, table: str = "mbox") -> None:
        attribute = f"{table}_{name}".replace(" ", "_")
        setattr(dummies, attribute, body)
        monkeypatch.setitem(TABLES[table], name, (f"dummies:{attribute}", "a dummy", "Mail"))

    return put


@pytest.fixture
def call() -> Call:
    """Call a program in this process."""

    def call(
        *words: str, program: str = "mbox", stdin: str | bytes = "", env: dict[str, str] | None = None
    ) -> Result:
        return CliRunner().invoke(Program(program), list(words), input=stdin, env=env)

    return call


def dummy(function: Callable[..., Any], *decorators: Callable[[Any], Any], **settings: Any) -> options.Body:
    """``function`` declared as a command; it may be declared as another one too."""

    def own(*args: Any, **given: Any) -> Any:
        return function(*args, **given)

    own.__doc__ = function.__doc__
    for decorate in reversed(decorators):
        own = decorate(own)
    return command(**{"examples": ["mbox x"], **settings})(own)


def raising(error: BaseException) -> options.Body:
    """A command that fails."""

    def fail(context: Context) -> None:
        raise error

    return dummy(fail)


def _said(context: Context, **given: Any) -> None:
    names = ("agent", "root", "output", "quiet", "full", "dry_run", "limit", "tail")
    context.write(json.dumps({**{name: getattr(context, name) for name in names}, **given}))


def telling(*decorators: Callable[[Any], Any], **settings: Any) -> options.Body:
    """A command that prints what it was given."""

    def tell(context: Context, **given: Any) -> None:
        """Print what is given."""
        _said(context, **given)

    return dummy(tell, *decorators, **settings)


# ---- the shared options


@pytest.mark.parametrize(
    "line",
    [
        "task claim --as ann -o json --quiet --root /r",
        "--as ann -o json --quiet --root /r task claim",
        "--as ann task -o json claim --quiet --root /r",
        "--as=ann -ojson task --quiet claim --root=/r",
        "--as bob task --as cleo claim --as ann --output json --quiet --root /r",
        "--as=ann task --quiet --root=/r claim -ojson",
        "--as ann -o json --quiet --root /r -- task -- claim",
    ],
)
def test_shared_options_before_and_after_the_command(line: str, put: Any, call: Call) -> None:
    """They mean the same wherever they stand, in every spelling; the later one wins."""
    put("claim", telling(), "task")
    result = call(*line.split())
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["agent"], told["root"], told["output"], told["quiet"]) == ("ann", "/r", "json", True)


def test_options_of_some_commands(put: Any, call: Call) -> None:
    """`--dry-run`, `--full` and `--limit` are accepted where declared, before the command's name too."""
    put("inbox", telling(options.changes, options.shows, options.lists(20)))
    told = json.loads(call("--limit", "5", "--full", "inbox", "--dry-run").stdout)
    assert (told["limit"], told["full"], told["dry_run"]) == (5, True, True)
    assert json.loads(call("inbox").stdout)["limit"] == 20
    assert call("inbox", "--limit", "-1").exit_code == 2


@pytest.mark.parametrize("words", [["--dry-run", "inbox"], ["inbox", "--dry-run"], ["--limit", "3", "inbox"]])
def test_an_option_that_the_command_does_not_have(words: list[str], put: Any, call: Call) -> None:
    """Given anywhere, it is refused, not passed over: who asks for a dry run must not get a wet one."""
    put("inbox", telling())
    result = call(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "No such option" in result.stderr


def test_the_agent_of_the_environment(put: Any, call: Call) -> None:
    """`MBOX_AGENT` is the default; `--as` wins, also before the command."""
    put("inbox", telling())
    env = {"MBOX_AGENT": "bob"}
    assert json.loads(call("inbox", env=env).stdout)["agent"] == "bob"
    assert json.loads(call("--as", "ann", "inbox", env=env).stdout)["agent"] == "ann"
    assert json.loads(call("inbox", env={"MBOX_AGENT": ""}).stdout)["agent"] is None


@pytest.mark.parametrize("env", [{}, {"MBOX_AGENT": "Ann"}])
def test_a_wrong_agent_name_is_refused_at_once(env: dict[str, str], put: Any, call: Call) -> None:
    """Even where no agent is needed, with the name that was meant."""
    put("inbox", telling())
    result = call("inbox", *([] if env else ["--as", "Ann"]), env=env)
    assert result.exit_code == 2
    assert result.stderr.endswith("did you mean ann?\n")


def test_a_dry_run_says_so(put: Any, call: Call) -> None:
    """The answer looks like the real one, so stderr says that nothing was changed."""
    put("send", telling(options.changes))
    assert call("send", "--dry-run").stderr == "dry run: nothing was changed\n"
    assert call("send").stderr == ""


# ---- which command


@pytest.mark.parametrize(
    ("line", "verb", "patterns", "shared"),
    [
        ("src/*", "add", ["src/*"], False),
        ("src/* list", "add", ["src/*", "list"], False),
        ("add src/*", "add", ["src/*"], False),
        ("./list", "add", ["./list"], False),
        ("lis", "add", ["lis"], False),
        ("list", "list", [], False),
        ("--as ann list", "list", [], False),
        ("--as list src/*", "add", ["src/*"], False),
        ("--shared src/*", "add", ["src/*"], True),
        ("--ttl list src/*", "add", ["src/*"], False),
        ("--ttl=5m --shared src/*", "add", ["src/*"], True),
        ("src/* --shared", "add", ["src/*"], True),
    ],
)
@pytest.mark.parametrize("program", ["reserve", "mbox"])
def test_reserve_means_add_unless_a_verb_comes_first(
    line: str, verb: str, patterns: list[str], shared: bool, program: str, put: Any, call: Call
) -> None:
    """The first word decides, options and their values before it do not; only an exact verb is one."""

    def tell(context: Context, patterns: tuple[str, ...] = (), shared: bool = False, ttl: str = "") -> None:
        context.write(json.dumps([click.get_current_context().info_name, list(patterns), shared]))

    put(
        "add",
        dummy(tell, words("patterns", "PATTERN"), option("--shared", is_flag=True), option("--ttl")),
        "reserve",
    )
    put("list", dummy(tell), "reserve")
    before = ["reserve"] if program == "mbox" else []
    result = call(*before, *line.split(), program=program)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == [verb, patterns, shared]


def test_an_option_of_add_before_another_verb(put: Any, call: Call) -> None:
    """The verb is still the first word, so the option is wrong; no file called ``list`` is reserved."""
    put("add", telling(words("patterns", "PATTERN"), option("--ttl")), "reserve")
    put("list", telling(), "reserve")
    result = call("--ttl", "5m", "list", program="reserve")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No such option" in result.stderr


def test_what_follows_the_dashes_is_the_tail(put: Any, call: Call) -> None:
    """Words after ``--`` are the command to run, untouched, for a command that runs one."""
    put("lock", telling(argument("name"), tail="CMD..."))
    told = json.loads(call("--as", "ann", "lock", "db", "--", "make", "--as", "bob", "--", "x").stdout)
    assert (told["name"], told["agent"], told["tail"]) == ("db", "ann", ["make", "--as", "bob", "--", "x"])
    assert json.loads(call("lock", "db").stdout)["tail"] == []


@pytest.mark.parametrize("name", LATER)
def test_commands_of_later_issues_are_not_there(name: str, call: Call) -> None:
    """What the contract lists but nobody has built is no command."""
    result = call(name)
    assert result.exit_code == 2
    assert f"no such command '{name}'" in result.stderr


@pytest.mark.parametrize(
    ("program", "words", "near"),
    [
        ("mbox", ["inbx"], "did you mean inbox"),
        ("mbox", ["claim"], "did you mean task claim?"),
        ("mbox", ["restore"], "did you mean mbox audit restore?"),
        ("mbox", ["task", "sumbit"], "did you mean submit?"),
        ("task", ["inbox"], "did you mean mbox inbox?"),
        ("mbox", ["--as", "ann", "agent", "lst"], "did you mean list?"),
    ],
)
def test_an_unknown_command_suggests(program: str, words: list[str], near: str, call: Call) -> None:
    """The nearest name here, or the place where exactly that name is a command."""
    result = call(*words, program=program)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert near in result.stderr


def test_only_the_module_of_the_command_is_imported(tmp_path: Path) -> None:
    """Help of a group imports no command; nothing of the package but the frame is loaded."""
    code = "import sys; from mbox.cli import main; main.run(main.group('mbox'), 'mbox', ['task', '--help'])\n"
    code += "print(*sorted(n for n in sys.modules if n.startswith('mbox.')))"
    loaded = _python("-c", code, cwd=tmp_path).stdout.splitlines()[-1].split()
    frame = ["mbox.cli", "mbox.cli.context", "mbox.cli.main", "mbox.cli.options", "mbox.cli.output",
             "mbox.cli.table", "mbox.cli.values"]  # fmt: skip
    formats = ["mbox.format", "mbox.format.checks", "mbox.format.documents", "mbox.format.places"]
    assert loaded == [*frame, "mbox.errors", *formats]


def test_the_frame_imports_nothing_that_click_does_not(tmp_path: Path) -> None:
    """Import cost is a feature: beyond `click` and `json` there are only modules of this package and the interpreter's gc."""
    code = "import sys, click, json, errno, gc; before = set(sys.modules); import mbox.cli.main\n"
    code += "print(*sorted(n for n in set(sys.modules) - before if n.split('.')[0] != 'mbox'))"
    assert _python("-c", code, cwd=tmp_path).stdout == "\n"


def test_the_collector_is_told_to_wait_before_anything_is_loaded(tmp_path: Path) -> None:
    """The first act of a command: what it loads makes more objects than what it does."""
    code = "import gc, sys; gc.set_threshold = lambda n: print(n, 'click' in sys.modules, 'mbox.errors' in sys.modules)\n"
    assert _python("-c", code + "import mbox.cli.main", cwd=tmp_path).stdout == "100000 False False\n"


def test_every_entry_is_whole() -> None:
    """Each names a command module and an attribute, or another table; its help fits its line."""
    for entries in TABLES.values():
        for target, about, _ in entries.values():
            module, colon, attribute = target.partition(":")
            if colon:
                assert module.startswith("mbox.cli.") and attribute.isidentifier()
            else:
                assert target in TABLES
            assert 0 < len(about) < 50 and not about.endswith(".")
    assert set(ABOUT) == set(TABLES)


# ---- help


@pytest.mark.parametrize("table", TABLES)
def test_help_of_a_group(table: str, call: Call) -> None:
    """At most 2,000 bytes, with every command and the shared options, for `mbox` the exit statuses; status 0."""
    program, *rest = table.split()
    result = call(*rest, "--help", program=program)
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.encode()) <= 2000
    assert result.stdout.startswith(f"Usage: {table} ")
    assert all(f"\n  {name} " in result.stdout for name in TABLES[table])
    assert "--as AGENT" in result.stdout and ("6 the store" in result.stdout) == (table == "mbox")


def test_help_groups_by_job(call: Call) -> None:
    """The commands stand under the heading of their job, each job once."""
    shown = call("--help").stdout
    headings = [line[:-1] for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == list(dict.fromkeys(entry[2] for entry in TABLES["mbox"].values()))


def test_help_of_a_command(put: Any, call: Call) -> None:
    """Own options with their help, the shared ones in short, the examples, the exit statuses of its own; compact."""

    def send(context: Context, **given: Any) -> None:
        """Send a message to one or several agents."""

    own = [option(f"--option-{n}", metavar="X", help="what this option is good for") for n in range(15)]
    examples = ["mbox send ann --body 'hello'", "mbox send ann bob --needs-ack"]
    put(
        "send",
        dummy(send, options.changes, words("to", "TO"), *own, examples=examples, exits={3: "no such agent"}),
    )
    shown = call("send", "--help").stdout
    assert len(shown.encode()) <= 2000
    assert shown.startswith(
        "Usage: mbox send [OPTIONS] TO...\n\n  Send a message to one or several agents.\n"
    )
    for part in (*examples, "--option-14 X", "[--as AGENT]", "[-o FORMAT]", "[--dry-run]"):
        assert part in shown
    assert shown.endswith("\n\nExit: 3 no such agent\n")
    assert "--full" not in shown


def test_described(put: Any, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of a table as data: the call, arguments, options, examples, statuses."""
    monkeypatch.setitem(TABLES, "config", {})
    own = option("--body", metavar="B", help="what to say")
    put("get", telling(options.changes, words("keys", "KEY"), own, exits={3: "none"}), "config")
    (one,) = described("config")
    assert one["command"] == "mbox config get"
    assert one["options"] == [
        {
            "names": ["--body"],
            "value": "B",
            "required": False,
            "many": False,
            "help": "what to say",
            "flag": False,
        }
    ]
    assert [found["many"] for found in one["arguments"]] == [True]
    assert set(one["shared"]) == {"--dry-run", "--as", "--root", "-o", "--quiet"}
    assert one["exits"]["3"] == "none" and one["examples"] == ["mbox x"]
    json.dumps(one)


# ---- how a call ends


@pytest.mark.parametrize(
    ("returned", "status"),
    [(None, 0), (0, 0), (7, 7), (-9, 137), (True, 0), ("text", 0), (300, 44), ([1], 0)],
)
def test_what_a_command_returns(returned: Any, status: int, put: Any, call: Call) -> None:
    """A number is the exit status, a negative one (from `subprocess`) a death by signal; all else is 0."""
    put("lock", dummy(lambda context: returned))
    assert call("lock").exit_code == status


@pytest.mark.parametrize("program", ["mbox", "task", "reserve", "team"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Nothing("no mail"), 1),
        (errors.Usage("no such type"), 2),
        (errors.Refused("too many"), 2),
        (errors.NotFound("no agent"), 3),
        (errors.TimedOut("30 s"), 4),
        (errors.NotYours("ann holds it"), 5),
        (errors.LockTimeout("held by 12"), 6),
    ],
)
def test_every_error_is_a_line_and_a_status(
    program: str, error: errors.MboxError, status: int, put: Any, call: Call
) -> None:
    """One line on stderr, under the program's name; the status of the table; nothing on stdout."""
    put("add", telling(), "reserve")
    put("show", raising(error), program)
    result = call("show", program=program)
    assert (result.exit_code, result.stdout, result.stderr) == (status, "", f"{program}: {error}\n")


def test_an_error_shows_what_it_quotes(put: Any, call: Call) -> None:
    """Anybody's text in an error is on the one line, and its control characters are shown."""
    put("show", raising(errors.NotFound("no 'a\x1b[2J\nmbox: all is well'")))
    assert call("show").stderr == "mbox: no 'a\\x1b[2J\\nmbox: all is well'\n"


@pytest.mark.parametrize(
    "line",
    [
        *("", "task", "show", "show m1 m2", "show --bogus", "show m1 -o xml", "show m1 --as", "--bogus"),
        *("--as ann", "show --boody m1"),
    ],
)
def test_a_wrong_call_is_a_line_and_2(line: str, put: Any, call: Call) -> None:
    """Missing, surplus and unknown words and options: one line that names the help, no usage page."""
    put("show", telling(argument("id"), option("--body")))
    result = call(*line.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("mbox: ")
    assert result.stderr.count("\n") == 1
    assert " --help)" in result.stderr


@pytest.mark.parametrize(
    ("number", "mend"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "read-only"), (errno.EACCES, "owner and mode")],
)
def test_a_refusal_of_the_system_names_file_and_mend(number: int, mend: str, put: Any, call: Call) -> None:
    """An OSError that nobody expected is still one line that helps, and 6."""
    put("show", raising(OSError(number, os.strerror(number), "/r/.mailbox/x")))
    result = call("show")
    assert result.exit_code == 6
    assert result.stderr.startswith(f"mbox: /r/.mailbox/x: {os.strerror(number)}")
    assert mend in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (ImportError("/lib/_sqlite3.so: failed to map"), "/lib/_sqlite3.so: failed to map: a part of the program"),
        (ModuleNotFoundError("No module named 'yaml'"), "install it anew"),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_the_machine_cannot_give_is_no_bug(error: BaseException, mend: str, put: Any, call: Call) -> None:
    """No room to load a library, a library that is gone, no memory: one line with the mend, and 6."""
    put("show", raising(error))
    result = call("show")
    assert result.exit_code == 6
    assert mend in result.stderr and result.stderr.count("\n") == 1
    assert "internal error" not in result.stderr


def test_an_internal_error_is_a_line(put: Any, call: Call) -> None:
    """A bug shows no traceback unless MBOX_DEBUG asks for it; 6 either way."""
    put("show", raising(KeyError("status")))
    result = call("show")
    assert result.exit_code == 6
    assert result.stderr.count("\n") == 1
    assert "internal error: KeyError: 'status'" in result.stderr and "MBOX_DEBUG=1" in result.stderr
    debugged = call("show", env={"MBOX_DEBUG": "1"})
    assert debugged.exit_code == 6
    assert "Traceback" in debugged.stderr and debugged.stderr.splitlines()[-1] == result.stderr.strip()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(errno.EPIPE, "x"), 141),
        (SystemExit(5), 5),
        (click.exceptions.Exit(4), 4),
    ],
)
def test_quiet_ends(error: BaseException, status: int, put: Any, call: Call) -> None:
    """An interrupt, a reader that went away and an exit on purpose are no news."""
    put("show", raising(error))
    result = call("show")
    assert (result.exit_code, result.stdout, result.stderr) == (status, "", "")


@pytest.mark.parametrize("error", [None, errors.NotFound("no agent")])
def test_what_waits_is_closed_last_first(error: Exception | None, put: Any, call: Call) -> None:
    """Closing happens after the command, in reverse order, also when it failed; the first error is told."""
    done: list[str] = []

    def show(context: Context) -> None:
        context.closing += [lambda: done.append("first"), lambda: done.append("second")]
        done.append("run")
        if error:
            raise error

    put("show", dummy(show))
    assert call("show").exit_code == (3 if error else 0)
    assert done == ["run", "second", "first"]


def test_a_failing_close_is_told(put: Any, call: Call) -> None:
    """A command that worked but could not be closed has not ended well; one that failed says why."""

    def fail() -> None:
        raise errors.StoreError("could not close")

    def show(context: Context) -> None:
        context.closing.append(fail)

    def refuse(context: Context) -> None:
        show(context)
        raise errors.NotYours("ann holds it")

    put("show", dummy(show))
    put("ack", dummy(refuse))
    result = call("show")
    assert (result.exit_code, result.stderr) == (6, "mbox: could not close\n")
    result = call("ack")
    assert (result.exit_code, result.stderr) == (5, "mbox: ann holds it\n")


# ---- value types


def _value(call: Call, put: Any, kind: values.Value, word: str, stdin: str | bytes = "") -> Any:
    """What ``--value WORD`` becomes, or the line that refuses it."""
    put("show", telling(option("--value", type=kind)))
    result = call("show", f"--value={word}", stdin=stdin)
    if result.exit_code:
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("mbox: ")
        assert result.stderr.count("\n") == 1
        return result.stderr
    return json.loads(result.stdout)["value"]


@pytest.mark.parametrize(
    ("word", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1d", 86400),
        ("0", 0),
        ("0s", 0),
        ("1.5h", 5400),
        ("0.25s", 0.25),
    ],
)
def test_durations(word: str, seconds: float, put: Any, call: Call) -> None:
    """A number and a unit are seconds; 0 needs no unit."""
    assert _value(call, put, values.DURATION, word) == seconds


@pytest.mark.parametrize(
    "word", ["", "90", "s", "-5s", "1h30m", "5 m", "5M", "1e3s", "nans", "infs", ".s", "٣s", "²s", "3651d"]
)
def test_what_is_no_duration(word: str, put: Any, call: Call) -> None:
    """A bare number, two units, signs, other digits, more than ten years: refused, naming the option."""
    assert "--value: " in _value(call, put, values.DURATION, word)


@pytest.mark.parametrize(("word", "number"), [("0", 0), ("9", 9), ("urgent", 8)])
def test_priorities(word: str, number: int, put: Any, call: Call) -> None:
    """0 to 9, and a word for 8."""
    assert _value(call, put, values.PRIORITY, word) == number


@pytest.mark.parametrize("word", ["10", "-1", "high", "", "5.0"])
def test_what_is_no_priority(word: str, put: Any, call: Call) -> None:
    """All else is refused with the range."""
    assert "0 to 9" in _value(call, put, values.PRIORITY, word)


HOSTILE = "'''C:\\new $HOME {{x}} 100% \x1b[0m \u202e\ufeff é漢\r\n\n"


def test_a_text_is_literal_stdin_or_a_file(put: Any, call: Call, tmp_path: Path) -> None:
    """All three ways give the same bytes; ``@@`` is a literal ``@``; only the exact ``-`` is stdin."""
    file = tmp_path / "body"
    file.write_bytes(HOSTILE.encode())
    assert _value(call, put, values.TEXT, HOSTILE) == HOSTILE
    assert _value(call, put, values.TEXT, "-", HOSTILE.encode()) == HOSTILE
    assert _value(call, put, values.TEXT, f"@{file}") == HOSTILE
    assert _value(call, put, values.TEXT, "@@ann") == "@ann"
    assert _value(call, put, values.TEXT, "- x") == "- x"
    assert _value(call, put, values.TEXT, "") == ""


@pytest.mark.parametrize("word", ["@nowhere", "@", "@."])
def test_a_file_that_cannot_be_read(
    word: str, put: Any, call: Call, tmp_path: Path, monkeypatch: Any
) -> None:
    """Exit 2, naming it, and how to write a literal ``@``."""
    monkeypatch.chdir(tmp_path)
    line = _value(call, put, values.TEXT, word)
    assert f"--value: '{word[1:]}'" in line
    assert "@@" in line


@pytest.mark.parametrize("stdin", [b"\xff", b"a\0b", b"x" * (256 * 1024 + 1)])
def test_what_is_no_text(stdin: bytes, put: Any, call: Call, tmp_path: Path) -> None:
    """Invalid UTF-8, NUL and oversize are refused from stdin and from a file alike."""
    (tmp_path / "body").write_bytes(stdin)
    assert "put it in a file" in _value(call, put, values.TEXT, "-", stdin)
    assert "put it in a file" in _value(call, put, values.TEXT, f"@{tmp_path / 'body'}")


def test_a_line_drops_only_the_end_of_its_file(put: Any, call: Call) -> None:
    """``echo reason | … --reason -`` is one line; a newline within, or on the command line, is refused."""
    assert _value(call, put, values.LINE, "-", "it failed\n") == "it failed"
    assert "line break" in _value(call, put, values.LINE, "-", "it\nfailed\n")
    assert "line break" in _value(call, put, values.LINE, "it failed\n")
    assert "$HOME" in _value(call, put, values.LINE, "use $HOME")


@pytest.mark.parametrize("word", ["{}", "[1, 2.5, null]", '"text"', "17", '{"a": {"b": "\\u0000é"}}'])
def test_json(word: str, put: Any, call: Call) -> None:
    """Any JSON value, by its value."""
    assert _value(call, put, values.JSON, word) == json.loads(word)
    assert _value(call, put, values.JSON, "-", word) == json.loads(word)


@pytest.mark.parametrize(
    "word",
    [
        "",
        "hello",
        "{a: 1}",
        "{} x",
        "NaN",
        "[1e999]",
        '"\\ud800"',
        '{"a": 1, "a": 2}',
        "[" * 10**5,
        "1" * 5000,
    ],
)
def test_what_is_no_json(word: str, put: Any, call: Call) -> None:
    """Neither is what no document can hold: infinities, half characters, a name twice, endless nesting."""
    assert "--value is not JSON" in _value(call, put, values.JSON, word)


@pytest.mark.parametrize(
    ("word", "cause", "mend"),
    [
        ("hello", "Expecting value at column 1", 'a text needs its ""'),
        ("NaN", "NaN is not JSON", "write null, or a text in quotes"),
        ('{"a": -Infinity}', "-Infinity is not JSON", "write null, or a text in quotes"),
        ("[1e999]", "a number that JSON has not", "write null, or a text in quotes"),
        ('"\\ud800"', "half a character ('\\ud800')", "leave it out"),
        ('{"\\udfff": 1}', "half a character ('\\udfff')", "leave it out"),
        ("1" * 5000, "a number of more than 4300 digits", "write it as a text, in quotes"),
        ("[" * 10**5, "nested too deep", "put what is so deep in a file of its own"),
        ('{"a": 1, "a": 2}', "'a' stands twice in one object", ""),
    ],
)  # fmt: skip
def test_why_it_is_no_json(word: str, cause: str, mend: str, put: Any, call: Call) -> None:
    """In one line of our words: neither a codec, a function nor a setting of Python's is named."""
    said = _value(call, put, values.JSON, word)
    assert cause in said and said.removesuffix("\n").endswith(mend)
    assert not any(alien in said for alien in ("codec", "sys.", "compliant", "conversion", "recursion", "decoding"))


def test_ids_and_names(put: Any, call: Call) -> None:
    """Checked where they are given."""
    assert _value(call, put, values.TASK, "t45") == "t45"
    assert "did you mean t45?" in _value(call, put, values.TASK, "T45")
    assert "task-45" in _value(call, put, values.NEW_TASK_ID, "t45")
    assert "lock name" in _value(call, put, values.name("lock"), "a b")


# ---- stdin


def test_ids_from_stdin(put: Any, call: Call) -> None:
    """``-`` among the ids is those on stdin, one a line, in their place; blank lines do not count."""
    put("ack", telling(words("ids", "ID", values.Value("low", lambda word, what, context: word.lower()))))
    assert json.loads(call("ack", "M1", "-", "m4", stdin="m2\r\nm3\n\n").stdout)["ids"] == [
        "m1",
        "m2",
        "m3",
        "m4",
    ]
    assert json.loads(call("ack", "-", stdin="a b\nc").stdout)["ids"] == ["a b", "c"]


def test_no_ids_on_stdin_is_nothing_to_do(put: Any, call: Call) -> None:
    """An empty list is not "no argument": `read -` must not read the next message."""
    put("read", telling(words("ids", "ID", required=False)))
    result = call("read", "-", stdin="\n")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "nothing on stdin, nothing to do\n")
    assert json.loads(call("read").stdout)["ids"] == []


def test_stdin_is_read_once(put: Any, call: Call) -> None:
    """A second ``-`` in a call is refused."""
    put("reply", telling(words("ids", "ID"), option("--body", type=values.TEXT)))
    result = call("reply", "-", "--body", "-", stdin="m1\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "only one - in a call" in result.stderr


# ---- the context


class FakeStore:
    """What the frame needs of a store."""

    def __init__(self, root: str | None) -> None:
        self.root = root or "/found"
        self.say: Callable[[str], None] = print
        self.closed = self.brought_up = 0
        self.doubts = True

    def bring_up(self, _decides: bool = False) -> None:
        self.brought_up += 1

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeStore]]:
    """The stores that were opened; opening and agents are fakes."""
    stores: list[FakeStore] = []

    def find(root: str | None, cwd: str) -> Any:
        refuse_gone(cwd)
        assert cwd == os.getcwd()
        return types.SimpleNamespace(path=root, warnings=["another store is not used"])

    def assemble(root: str | None) -> FakeStore:
        stores.append(FakeStore(root))
        return stores[-1]

    def fake(name: str, **attributes: Any) -> None:
        module = types.ModuleType(f"mbox.{name}")
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, f"mbox.{name}", module)
        package, _, leaf = module.__name__.rpartition(".")
        monkeypatch.setattr(importlib.import_module(package), leaf, module, raising=False)

    fake("opening", find=find, assemble=assemble)
    fake(
        "agents.registry",
        actor=lambda store, name, incarnation: Actor(name, incarnation),
        some_active=lambda store: "registered is ann",
    )
    yield stores


def test_the_store_is_opened_when_it_is_used(opened: list[FakeStore], put: Any, call: Call) -> None:
    """Once, with ``--root``, its warnings on stderr, closed at the end; not at all by who does not ask."""

    def show(context: Context) -> None:
        assert context.store is context.store
        context.store.say("a warning")

    put("show", dummy(show))
    put("inbox", telling())
    assert call("inbox").exit_code == 0
    assert opened == []
    result = call("show", "--root", "/r")
    assert [(store.root, store.brought_up, store.closed) for store in opened] == [("/r", 1, 1)]
    assert result.stderr == "another store is not used\na warning\n"
    assert call("show", "--quiet").stderr == ""


@pytest.mark.parametrize(
    ("given", "env", "expected"),
    [
        ("ann", {}, ("ann", None)),
        ("ann", {"MBOX_INCARNATION": "3"}, ("ann", 3)),
        ("ann", {"MBOX_INCARNATION": "3", "MBOX_AGENT": "ann"}, ("ann", 3)),
        ("ann", {"MBOX_INCARNATION": "3", "MBOX_AGENT": "bob"}, ("ann", None)),
        ("", {"MBOX_INCARNATION": "3", "MBOX_AGENT": "bob"}, ("bob", 3)),
    ],
)
def test_the_actor(given: str, env: dict[str, str], expected: Any, opened: Any, put: Any, call: Call) -> None:
    """The named agent; the incarnation of the environment only for the agent that that one speaks of."""

    def me(context: Context) -> None:
        actor = context.actor()
        assert actor is context.actor()
        context.write(json.dumps([actor.name, actor.incarnation]))

    put("me", dummy(me))
    result = call("me", *(["--as", given] if given else []), env=env)
    assert json.loads(result.stdout) == list(expected), result.stderr


def test_a_command_that_needs_an_agent(opened: Any, put: Any, call: Call) -> None:
    """Without one: 2, how to name one, and who there is.  What does not need one is done by the user."""
    put("me", dummy(lambda context: context.actor() and None))
    result = call("me", "--quiet")
    said = "mbox: which agent? pass --as NAME or set MBOX_AGENT; registered is ann\n"
    assert (result.exit_code, result.stderr) == (2, said)
    assert [store.closed for store in opened] == [1]
    put("init", dummy(lambda context: context.write(context.actor(required=False).name)))
    assert call("init").stdout.startswith("user:")
    assert call("me", "--as", "ann", env={"MBOX_INCARNATION": "x"}).exit_code == 2


def test_lists_are_limited_and_say_so(put: Any, call: Call) -> None:
    """What was left out is said on stderr, with the way to see it; data stays data."""
    put("inbox", dummy(lambda context: context.emit({"n": n} for n in range(25)), options.lists(20)))
    result = call("inbox")
    assert len(json.loads(result.stdout)) == 20
    assert result.stderr == "5 more: --limit 25, or 0 for all\n"
    assert len(json.loads(call("inbox", "--limit", "0").stdout)) == 25
    assert call("inbox", "--quiet").stderr == ""


def test_formats_reach_the_answer(put: Any, call: Call) -> None:
    """``-o`` chooses for objects, lists and streams; a document of a kind is short unless ``--full``."""
    from mbox.format import documents

    task = documents.new("task", task_id="t1", title="x", created_at="2026-01-02T03:04:05.000006Z")
    put("show", dummy(lambda context: context.emit(task, "task"), options.shows))
    put("watch", dummy(lambda context: context.stream(task)))
    shown = {**{k: task[k] for k in ("task_id", "title", "status")}, "created_at": "2026-01-02T03:04:05.000Z"}
    assert json.loads(call("show").stdout) == shown
    assert call("show", "--full").stdout_bytes == documents.encode("task", task)
    assert call("show", "-o", "id").stdout == "t1\n"
    assert call("watch").stdout.count("\n") == 1


def test_paths_and_patterns_are_judged_from_the_callers_folder(
    tmp_path: Path, put: Any, call: Call, opened: list[FakeStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative to the root of the store, ``./`` from where the caller stands."""
    root = tmp_path.resolve()
    (root / "src").mkdir()
    (root / "src" / "a.py").touch()
    monkeypatch.chdir(root / "src")
    put(
        "show",
        dummy(lambda context: context.emit({"p": context.paths(["./a.py"]), "q": context.patterns(["./*"])})),
    )
    put("read", dummy(lambda context: context.emit({"p": context.paths(["a.py"])})))
    assert json.loads(call("show", "--root", str(root)).stdout) == {"p": ["src/a.py"], "q": ["src/*"]}
    assert "did you mean src/a.py?" in call("read", "--root", str(root)).stderr


def test_a_folder_that_is_gone(tmp_path: Path, opened: Any, put: Any, call: Call, monkeypatch: Any) -> None:
    """Standing in a removed folder is one line and 6."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    put("show", dummy(lambda context: context.store and None))
    result = call("show")
    monkeypatch.chdir(tmp_path)
    assert (result.exit_code, result.stderr) == (
        6,
        "mbox: the folder you stand in is gone: cd to one that is there, or name the root by an absolute --root\n",
    )


# ---- real processes


def _environment() -> dict[str, str]:
    """A process's environment: this package, buffered output, a locale that is not UTF-8."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**kept, "PYTHONPATH": str(PACKAGE), "PYTHONIOENCODING": "latin-1"}


def _python(*words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    settings = {"capture_output": True, "encoding": "utf-8", "timeout": 60, **settings}
    return subprocess.run([sys.executable, *words], env=_environment(), check=False, **settings)


def _started(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, *words]
    return subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A script whose commands print, wait, and leave something to the interpreter's teardown."""
    script = tmp_path / "program.py"
    script.write_text(
        """
import atexit, os, signal, sys, types
from mbox.cli import main
from mbox.cli.table import TABLES
from mbox.cli.options import command
atexit.register(lambda: os.write(2, b"teardown"))
def say(context):
    context.closing.append(lambda: os.write(2, b"closed"))
    context.emit({"task_id": "t1", "title": "h\\u00e9"})
def much(context):
    for n in range(100000):
        context.stream({"n": n})
def wait(context):
    ours, its = os.pipe()
    os.set_blocking(its, False)
    signal.set_wakeup_fd(its)  # so that a signal that comes before the read ends it, too
    print("ready", flush=True)
    os.read(ours, 1)
def flush(context):
    context.emit({"n": 1})
    context.flush()
    os.write(2, b"acknowledged")
def descriptor(context):
    fd = os.open(__file__, os.O_RDONLY)
    os.write(2, b"%d" % fd)
dummies = sys.modules["dummies"] = types.ModuleType("dummies")
for body in (say, much, wait, flush, descriptor):
    setattr(dummies, body.__name__, command(["x"])(body))
    TABLES["mbox"][body.__name__] = (f"dummies:{body.__name__}", "a dummy", "")
sys.argv[0] = "mbox"
main.mbox()
""",
        encoding="utf-8",
    )
    return str(script)


def test_a_process_ends_without_teardown(program: str) -> None:
    """Output has left, what waited is closed, no interpreter teardown; UTF-8 whatever the locale says."""
    done = _python(program, "say")
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"task_id":"t1","title":"hé"}\n', "closed")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["say", "flush", "--help"])
def test_a_full_disk_behind_stdout(program: str, name: str) -> None:
    """6, and a line that says so; what comes after the flush of the answer (acknowledging) is not done."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = _python(program, name, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 6
    line = done.stderr.removeprefix("closed")
    assert line.startswith("mbox: stdout: No space left on device")
    assert line.count("\n") == 1
    assert "acknowledged" not in line


def test_a_reader_that_goes_away(program: str) -> None:
    """Quiet, as a program that SIGPIPE ends."""
    process = _started(program, "much")
    assert process.stdout and process.stderr
    assert process.stdout.readline() == b'{"n":0}\n'
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 128 + signal.SIGPIPE


def test_an_interrupt(program: str) -> None:
    """Ctrl-C is 130, and no traceback."""
    process = _started(program, "wait")
    assert process.stdout and process.stderr
    try:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
    assert process.stderr.read() == b""


def test_a_closed_stdout(program: str) -> None:
    """6 for who has an answer; and no file that the command opens takes stdout's place."""
    done = _python("-c", f"import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, {program!r}, 'say'])")
    assert done.returncode == 6
    assert "mbox: stdout: it is closed" in done.stderr
    done = _python(
        "-c", f"import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, {program!r}, 'descriptor'])"
    )
    assert done.returncode == 0
    assert int(done.stderr) > 2


def test_a_terminal_gets_a_table(program: str) -> None:
    """On a terminal the answer is for a person."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    _python(program, "say", capture_output=False, stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    assert os.read(ours, 1000).decode().split() == ["task_id", "t1", "title", "hé"]
    os.close(ours)


@pytest.mark.parametrize("name", ["mbox", "task", "reserve", "team"])
def test_run_as_a_module(name: str, tmp_path: Path) -> None:
    """``python -m mbox.cli.main NAME`` is the program NAME."""
    done = _python("-m", "mbox.cli.main", name, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: {name} ")


@pytest.mark.parametrize("name", PROGRAMS)
def test_version_and_help_of_the_program(name: str, run: Run, tmp_path: Path) -> None:
    """`--version` is a line; without a command a terminal gets the help, too, and 2; `help` is --help."""
    assert run(name, "--version", cwd=tmp_path).stdout == f"{name} {mbox.__version__}\n"
    done = run(name, "help", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith(f"Usage: {name} ")
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [Path(sys.executable).parent / name], stdout=theirs, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path
        )
        assert os.read(ours, 65536).decode().startswith(f"Usage: {name} ")
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, done.stderr) == (2, f"{name}: which command? ({name} --help)\n")


def test_run_as_a_module_without_a_name(tmp_path: Path) -> None:
    """2, and the names."""
    done = _python("-m", "mbox.cli.main", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "mbox|task|reserve" in done.stderr


def test_completion(put: Any, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    """The shell's questions are answered from the table, also behind shared options."""
    put("zebra", telling(option("--stripes")))
    env = {"_MBOX_COMPLETE": "bash_complete", "COMP_CWORD": "3", "COMP_WORDS": "mbox --as ann zeb"}
    assert call(env=env).stdout == "plain,zebra\n"
    env = {"_MBOX_COMPLETE": "bash_complete", "COMP_CWORD": "2", "COMP_WORDS": "mbox zebra --str"}
    assert call(env=env).stdout == "plain,--stripes\n"


def pressed(run: Run, cwd: Path, line: str) -> list[str]:
    """What a real bash offers for ``line`` at the Tab key, by the script that `mbox completion bash` prints."""
    script = """
eval "$(mbox completion bash)"
read -ra COMP_WORDS <<< "$1"
case $1 in *' ') COMP_WORDS+=('');; esac
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { echo files; }
complete -p "${COMP_WORDS[0]}" | grep -q -- '-o default' || echo "no files"
"_${COMP_WORDS[0]}_completion" "${COMP_WORDS[0]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = run("bash", "--norc", "-c", script, "bash", line, cwd=cwd, env=env)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.split("\n")[:-1]


def test_completion_of_values_in_bash(run: Run, tmp_path: Path) -> None:
    """Files where files are wanted; agents, tasks, mail and settings by what is in the store; nothing else is said."""
    files = ["files", ""]
    assert pressed(run, tmp_path, "mbox send --as ") == [""]  # no store: nothing, without a word
    run("mbox", "init", "--here", cwd=tmp_path, check=True)
    for name in ("ann", "bob"):
        run("mbox", "agent", "add", name, cwd=tmp_path, check=True)
    run("task", "add", "A title", "--id", "parser", cwd=tmp_path, check=True)
    mail = run("mbox", "send", "bob", "--body", "x", "--as", "ann", "-o", "id", cwd=tmp_path, check=True).stdout.strip()
    assert pressed(run, tmp_path, "task import pl") == files
    assert pressed(run, tmp_path, "team up ") == files
    assert pressed(run, tmp_path, "reserve src/") == files
    assert pressed(run, tmp_path, "mbox nonsense x") == files
    for line in ("mbox send ", "mbox --as ", "mbox send bob --as ", "mbox read --from ", "mbox send bob --body - --to "):
        assert pressed(run, tmp_path, line) == ["ann", "bob"], line
    assert pressed(run, tmp_path, "task claim p") == ["parser"]
    assert pressed(run, tmp_path, "mbox send bob --task ") == ["parser"]
    assert pressed(run, tmp_path, "mbox --as bob show ") == [mail]
    assert pressed(run, tmp_path, "mbox config set lea") == ["lease"]
    held = run("reserve", "src/**", "--as", "ann", "-o", "id", cwd=tmp_path, check=True).stdout.strip()
    assert pressed(run, tmp_path, "reserve show ") == [held]
    assert pressed(run, tmp_path, "task ready --explain ") == ["parser"]
    assert pressed(run, tmp_path, "mbox log --task pa") == ["parser"]
    assert pressed(run, tmp_path, "mbox completion z") == ["zsh"]
    assert pressed(run, tmp_path, "mbox wai") == ["wait"]


def test_no_command_takes_the_name_of_a_shared_option() -> None:
    """No command's own parameter has the name of a shared one: ``--as`` would fill it (``log --agent`` once did)."""
    shared = {"agent", "root", "output", "quiet", "dry_run", "full"}
    for home, entries in TABLES.items():
        for name, (where, _, _) in entries.items():
            module, colon, attribute = where.partition(":")
            if colon:
                __import__(module)
                wanted = getattr(getattr(sys.modules[module], attribute).function, "wanted", [])
                made = [kind(names, **settings) for kind, names, settings in wanted]
                own = {one.name for one in made if one.expose_value}
                assert not own & shared, f"{home} {name}"

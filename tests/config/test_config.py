"""The configuration: a table, a person's file, and a cache that is never believed wrongly."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbox.config import file, settings
from mbox.config import text as configtext
from mbox.config.settings import Config
from mbox.errors import StoreError, Usage
from mbox.system.disk import Disk

LONG_AGO = 1_700_000_000_500_000_000
"""An mtime, in nanoseconds, that no later change can share."""


class Store:
    """A ``.mailbox/`` of which a test writes the config file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "config.yaml"
        self.cache = folder / "cache" / "config.json"
        self.disk = Disk()
        self.now = LONG_AGO / 1e9 + 1e8

    def write(self, text: str | bytes, mtime_ns: int = LONG_AGO) -> None:
        """Put ``text`` into the file as an editor would, in place, last changed long ago."""
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode())
        os.utime(self.file, ns=(mtime_ns, mtime_ns))

    def load(self) -> Config:
        """What a command gets."""
        return file.load(str(self.folder), self.disk, self.now)

    def set(self, key: str, text: str) -> Config:
        """What ``mbox config set`` does."""
        return file.set_value(str(self.folder), key, text, self.disk)

    def error(self) -> str:
        """How loading ends."""
        with pytest.raises(StoreError) as caught:
            self.load()
        assert caught.value.exit == 6
        assert "\n" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty ``.mailbox/``."""
    folder = tmp_path / ".mailbox"
    folder.mkdir()
    return Store(folder)


def defaults() -> dict[str, settings.Shown]:
    """Every key at its default, as shown."""
    return {option.name: option.kind.show(option.kind.parse(option.name, option.default)) for option in settings.TABLE}


# -- the table ---------------------------------------------------------------------------------------------


def test_the_numbers_of_the_design_are_the_defaults(store: Store) -> None:
    """Without a file every key has the number of design section 5, in seconds and bytes."""
    c = store.load()
    assert (c.durability, c.lock_wait, c.private, c.network_fs) == ("full", 10.0, True, False)
    assert (c.segment_size, c.message_limit, c.checkpoint_limit) == (16 << 20, 256 << 10, 16 << 10)
    assert (c.poll, c.heartbeat, c.dead_after, c.watchdog_scan) == ((1.0, 2.0, 4.0, 5.0), 10.0, 45.0, 30.0)
    assert (c.lease, c.reservation_ttl, c.renewed_lease, c.renew_every) == (1800.0, 1800.0, 60.0, 20.0)
    assert (c.read_lease, c.max_deliveries, c.max_attempts, c.max_hops) == (600.0, 5, 3, 32)
    assert (c.max_recipients, c.send_rate, c.keys_kept) == (5, 600, 30 * 86400.0)
    assert (c.require_reservation, c.audit_ref, c.audit_every) == ((), "refs/mbox/audit", 500)
    assert c.case_fold is None


def test_every_key_of_the_table_is_a_typed_attribute(store: Store) -> None:
    """The annotations of Config and the table are the same list, and each default has the annotated type."""
    hints = get_type_hints(Config)
    hints.pop("__slots__", None)
    assert list(hints) == [option.field for option in settings.TABLE]
    loaded = store.load()
    for name, hint in hints.items():
        value = getattr(loaded, name)
        assert isinstance(value, getattr(hint, "__origin__", hint)), name
        assert isinstance(value, bool) == (hint is bool), name


def test_a_config_does_not_change(store: Store) -> None:
    """Config is frozen and slotted: a typing mistake in an assignment cannot go unseen."""
    loaded = store.load()
    with pytest.raises(AttributeError):
        loaded.lease = 1.0
    with pytest.raises(AttributeError):
        loaded.laese = 1.0


def test_the_written_file_has_each_key_explained_at_its_default(store: Store) -> None:
    """default_text parses to the defaults, names every key, and has a comment right above each."""
    text = configtext.default_text()
    store.write(text)
    assert store.load().shown() == defaults()
    lines = text.splitlines()
    for option in settings.TABLE:
        key = option.name.rpartition(".")[2]
        (at,) = (n for n, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        assert lines[at - 1].strip().startswith("# "), key
        assert option.why.splitlines()[-1] in lines[at - 1]


def test_the_file_says_what_the_config_says(store: Store) -> None:
    """Values of the file arrive as typed attributes; keys left out keep their defaults."""
    store.write(
        "lease: 2h\nmax_hops: 7\nprivate: no\nsegment_size: 1 MiB\nheartbeat: 5\ncase_fold: true\n"
        "poll: [0.5, 3s]\nrequire_reservation: [impl, on]\naudit: {every: 0}\ndurability: fast\n"
    )
    c = store.load()
    assert (c.lease, c.max_hops, c.private, c.segment_size, c.heartbeat) == (7200.0, 7, False, 1 << 20, 5.0)
    assert (c.poll, c.require_reservation, c.audit_every) == ((0.5, 3.0), ("impl", "on"), 0)
    assert (c.durability, c.case_fold, c.read_lease) == ("fast", True, 600.0)


def test_json_schema_has_every_key_and_nothing_else() -> None:
    """The schema is made from the table: each key with its explanation and default, no other key allowed."""
    schema = configtext.schema()
    flat: dict[str, dict[str, object]] = {}
    for name, entry in schema["properties"].items():
        inner = entry.get("properties")
        assert inner is None or entry["additionalProperties"] is False
        flat |= {f"{name}.{key}": value for key, value in inner.items()} if inner else {name: entry}
    assert schema["additionalProperties"] is False
    assert {name: entry["default"] for name, entry in flat.items()} == defaults()
    assert all(flat[option.name]["description"] == option.why for option in settings.TABLE)


def test_the_written_file_is_valid_by_the_schema() -> None:
    """What init writes, read as plain YAML, validates; a wrong value and an unknown key do not."""
    jsonschema = pytest.importorskip("jsonschema")
    import yaml

    written = yaml.safe_load(configtext.default_text())
    jsonschema.validate(written, configtext.schema())
    for wrong in ({"leese": "1h"}, {"lease": "soon"}, {"audit": {"rev": 1}}, {"max_hops": 0}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**written, **wrong}, configtext.schema())


# -- values ------------------------------------------------------------------------------------------------


@given(st.integers(min_value=1, max_value=1 << 60))
def test_a_shown_size_reads_back(value: int) -> None:
    """What `config get` prints of a size is the same size in the file."""
    assert settings.octets(settings.size(value)) == value


def parsed(text: str) -> float:
    """What a duration in config.yaml is, in seconds."""
    return float(settings.DURATION.parse("lease", text))


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90), ("15m", 900), ("2h", 7200), ("30d", 2592000), ("7", 7), ("0.5s", 0.5), ("15 m", 900)]
)
def test_durations(text: str, value: float) -> None:
    """A number with s, m, h or d; without a unit it is seconds."""
    assert parsed(text) == value


@pytest.mark.parametrize("text", ["", "s", "0", "0s", "-5m", "nan", "inf", "1e3s", "5 weeks", "1h30m", "4000d", "true"])
def test_what_is_no_duration(text: str) -> None:
    """Nothing, zero, negative, endless or unclear durations are refused, with an example of a right one."""
    with pytest.raises(Usage, match="90s, 15m, 2h or 30d"):
        parsed(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5 MiB", "16 MB", "16M", "KiB", "²"])
def test_what_is_no_size(text: str) -> None:
    """Decimal units, fractions and zero are refused: one spelling, one meaning."""
    with pytest.raises(ValueError, match="256 KiB or 16 MiB"):
        settings.octets(text)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("lease: soon", "lease must be a duration such as 90s, 15m, 2h or 30d, not 'soon'"),
        ("max_hops: 0", "max_hops must be a whole number, at least 1, not 0"),
        ("max_hops: 3.5", "max_hops must be a whole number"),
        ("durability: half", "durability must be full or fast, not 'half'"),
        ("private: maybe", "private must be true or false"),
        ("case_fold: sometimes", "case_fold must be auto or true or false"),
        ("lease: [1m, 2m]", "lease must be one value, not a list"),
        ("poll: 5s", "poll must be a list"),
        ("poll: []", "poll must be a list"),
        ("require_reservation: impl", "require_reservation must be a list"),
        ('require_reservation: ["a\\nb"]', "require_reservation must be 1 to 64 printable characters"),
        ("audit: {ref: refs/heads/main}", "audit.ref must be a git ref of its own"),
        ("audit: {ref: refs/mbox/../x}", "audit.ref must be a git ref of its own"),
        ("audit: {ref: audit}", "audit.ref must be a git ref of its own"),
        ("audit: {ref: refs/replace/0123456789}", "audit.ref must be a git ref of its own below refs/mbox/, such"),
        ("audit: {ref: refs/ours/audit}", "audit.ref must be a git ref of its own below refs/mbox/"),
        ("audit: {ref: refs/mbox}", "audit.ref must be a git ref of its own below refs/mbox/"),
        ("audit: {ref: refs/mboxes/audit}", "audit.ref must be a git ref of its own below refs/mbox/"),
        ("audit: {ref: refs/mbox/../replace/a}", "audit.ref must be a git ref of its own below refs/mbox/"),
        ("keys_kept: 1d", "keys_kept must be at least 30d"),
        ("dead_after: 10s", "dead_after must be longer than heartbeat (10s)"),
        ("renewed_lease: 20s", "renewed_lease must be longer than renew_every (20s)"),
        ("lease:", "lease has no value"),
        ("lease: {a: 1}", "unknown key 'lease.a'"),
        ("leese: 5m", "unknown key 'leese'; did you mean lease"),
        ("audit: {evry: 5}", "unknown key 'audit.evry'; did you mean audit.every"),
        ("audit.every: 5", "write audit.every as `audit:` and `  every:` below it"),
        ("max_hops: 5\nmax_hops: 6", "'max_hops' stands twice in one mapping: take one of the two out"),
        ("just words", "the file must be a mapping (lines of `key: value`), not 'just words'"),
        ("lease: 'open", "not YAML"),
        ("lease: \x01", "not YAML"),
    ],
)
def test_a_broken_file_is_named_with_place_and_mend(store: Store, line: str, problem: str) -> None:
    """Each mistake ends in exit 6 with file, line, column and what would be right; never in a default."""
    store.write(f"# comment\n\nsend_rate: 7\n{line}\n" if ":" in line else f"# comment\n{line}\n")
    message = store.error()
    assert problem in message
    place = re.match(rf"{re.escape(str(store.file))}:([0-9]+):[0-9]+: ", message)
    assert place
    if line.count("\n") == 0 and "'open" not in line and ":" in line:
        assert place[1] == "4"
    assert not store.cache.exists()


@pytest.mark.parametrize("text", [b"", b"\n \n", b"\0\0\0\0"])
def test_an_empty_file_is_broken(store: Store, text: bytes) -> None:
    """A file of length zero, or of zeros, is what a power cut leaves, not a wish for defaults."""
    store.write(text)
    assert str(store.file) in store.error()


def test_a_file_of_comments_is_all_defaults(store: Store) -> None:
    """Somebody who commented every line out wants the defaults."""
    store.write("# lease: 1h\n")
    assert store.load().lease == 1800.0


def test_a_file_that_is_not_utf_8_is_broken(store: Store) -> None:
    """Latin-1 is refused by name, not guessed at."""
    store.write("# gr\xfc\xdfe\nlease: 1h\n".encode("latin-1"))
    assert "UTF-8" in store.error()


def test_a_symlink_or_fifo_in_place_of_the_file_is_refused(store: Store, tmp_path: Path) -> None:
    """The store is not followed out of itself, and no command hangs on a pipe."""
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text("lease: 1h\n")
    store.file.symlink_to(elsewhere)
    assert "symlink" in store.error()
    store.file.unlink()
    os.mkfifo(store.file)
    assert "regular file" in store.error()


# -- the cache ---------------------------------------------------------------------------------------------


def test_the_second_load_reads_the_cache_and_imports_no_yaml(store: Store) -> None:
    """A command whose config.yaml has not changed imports no YAML parser and gets the same values."""
    store.write("lease: 2h\nrequire_reservation: [impl]\n")
    first = store.load()
    script = (
        "import sys; from mbox.config import file as config; from mbox.system.disk import Disk; "
        "c = config.load(sys.argv[1], Disk(), 2e9); print(c.shown()); "
        "print([m for m in ('yaml', 'ruamel', 'ruamel.yaml', 'hashlib', 'pathlib') if m in sys.modules])"
    )
    package = str(Path(file.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, str(store.folder)],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": package},
    )  # fmt: skip
    assert done.stdout == f"{first.shown()}\n[]\n"


@pytest.mark.parametrize("change", ["size", "mtime", "inode"])
def test_any_change_of_the_file_makes_the_cache_stale(store: Store, change: str) -> None:
    """Size, mtime and inode must all be those the cache was made at."""
    store.write("lease: 1h\n")
    assert store.load().lease == 3600.0
    if change == "size":
        store.write("lease: 10h\n")
    elif change == "mtime":
        store.write("lease: 9h\n", mtime_ns=LONG_AGO + 1)
    else:
        kept = store.file.rename(store.folder / "old")  # keeps its inode, so that the new file has another
        store.write("lease: 9h\n")
        assert kept.stat().st_ino != store.file.stat().st_ino
    assert store.load().lease in (36000.0, 32400.0)


@pytest.mark.parametrize(
    ("mtime_ns", "age"), [(LONG_AGO, 0.015), (LONG_AGO, -0.015), (LONG_AGO // 10**9 * 10**9, 1.5)]
)
def test_a_file_changed_just_now_is_not_cached(store: Store, mtime_ns: int, age: float) -> None:
    """A second edit within the same tick of the clock could not be seen, so nothing is remembered yet."""
    store.now = mtime_ns / 1e9 + age
    store.write("lease: 1h\n", mtime_ns)
    assert store.load().lease == 3600.0
    store.write("lease: 9h\n", mtime_ns)
    assert store.load().lease == 32400.0


@pytest.mark.parametrize(
    "ref", ["a@{1}", "a..b", ".a", "a.lock", "a.", "a b", "a//b", "a:b", "a\\\\b", "", "a\\u0001"]
)
def test_what_git_takes_for_no_ref_is_refused(store: Store, ref: str) -> None:
    """A name that git-check-ref-format(1) refuses is refused here, before any command meets it."""
    store.write(f'audit:\n  ref: "refs/mbox/{ref}"\n')
    assert ":2:8: audit.ref must be a git ref of its own" in store.error()


@pytest.mark.parametrize(
    "garbage",
    [
        b"", b"{", b"[]", b"null", b"{}", b'{"stamp": null}', b"\xff",
        b'{"stamp": STAMP}', b'{"stamp": STAMP, "texts": []}', b'{"stamp": STAMP, "texts": {"lease": 5}}',
        b'{"stamp": STAMP, "texts": {"lease": "soon"}}', b'{"stamp": STAMP, "texts": {"unknown": "1"}}',
        b'{"stamp": STAMP, "texts": {"lease": null}}', b'{"stamp": STAMP, "texts": {"poll": [1]}}',
    ],
)  # fmt: skip
def test_a_damaged_cache_is_passed_over_and_made_anew(store: Store, garbage: bytes) -> None:
    """Whatever stands in the cache, the file decides; afterwards the cache is right again."""
    store.write("lease: 1h\n")
    store.load()
    stamp = json.loads(store.cache.read_bytes())["stamp"]
    store.cache.write_bytes(garbage.replace(b"STAMP", json.dumps(stamp).encode()))
    assert store.load().lease == 3600.0
    assert json.loads(store.cache.read_bytes()) == {"stamp": stamp, "texts": {"lease": "1h"}}


class Unwilling(Disk):
    """A disk on which nothing can be written, for one reason."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def open(self, path: str, flags: int) -> int:
        """Refuse."""
        raise OSError(self.code, os.strerror(self.code), path)

    def mkdir(self, path: str) -> None:
        """Refuse."""
        raise OSError(self.code, os.strerror(self.code), path)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_reading_works_where_nothing_can_be_written(store: Store, code: int) -> None:
    """On a read-only or full disk the configuration is read all the same, without its cache."""
    store.write("lease: 1h\n")
    store.disk = Unwilling(code)
    assert store.load().lease == 3600.0
    assert not store.cache.exists()


def test_any_other_failure_to_write_the_cache_is_told(store: Store) -> None:
    """An I/O error is not passed over in silence."""
    store.write("lease: 1h\n")
    store.disk = Unwilling(errno.EIO)
    assert str(store.cache) in store.error()


# -- setting -----------------------------------------------------------------------------------------------

EDITED = """\
# ours, since the incident of March
durability: full    # never fast again

lease: 30m   # half of our tasks
"max_hops": 12
require_reservation:
    - plan   # first
    - impl

# before audit
audit:
  # inside
  every: 500
# the end
"""


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    """The lines that are only in the one and only in the other."""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


@pytest.mark.parametrize(
    ("key", "text", "old", "new"),
    [
        ("lease", "3600", "lease: 30m   # half of our tasks", "lease: 1h    # half of our tasks"),
        ("durability", "fast", "durability: full    # never fast again",
         "durability: fast    # never fast again"),
        ("max_hops", "3", '"max_hops": 12', '"max_hops": 3'),
        ("audit.every", "7", "  every: 500", "  every: 7"),
    ],
)  # fmt: skip
def test_setting_a_key_changes_its_line_alone(store: Store, key: str, text: str, old: str, new: str) -> None:
    """Comments, order, quotes and the indentation of everything else stay as a person wrote them."""
    store.write(EDITED)
    assert store.set(key, text).shown() == store.load().shown()
    assert changed_lines(EDITED, store.file.read_text()) == ([old], [new])


def test_setting_a_key_that_the_file_leaves_out_adds_it_explained(store: Store) -> None:
    """A new key comes with its explanation, a new section too."""
    store.write("# mine\nlease: 1h\n")
    store.set("heartbeat", "5s")
    store.set("audit.ref", "refs/mbox/ours")
    text = store.file.read_text()
    assert text.startswith("# mine\nlease: 1h\n# How often a wrapped agent")
    assert " that it is alive.\nheartbeat: 5s\n" in text
    assert "\naudit:\n  # The git ref that" in text
    assert (store.load().heartbeat, store.load().audit_ref) == (5.0, "refs/mbox/ours")


@pytest.mark.parametrize(
    ("text", "value"),
    [("impl", ("impl",)), ("[impl, on]", ("impl", "on")), ("a,b", ("a", "b")), ("[]", ()), ("", ())],
)
def test_setting_a_list(store: Store, text: str, value: tuple[str, ...]) -> None:
    """A list is given with or without brackets; a stage called `on` stays a word."""
    store.write(configtext.default_text())
    assert store.set("require_reservation", text).require_reservation == value
    assert store.load().require_reservation == value


def test_setting_every_key_to_what_it_shows_changes_nothing(store: Store) -> None:
    """What `config get` prints is what `config set` takes."""
    store.write(configtext.default_text())
    for name, shown in store.load().shown().items():
        store.set(name, ", ".join(shown) if isinstance(shown, list) else str(shown))
    assert store.load().shown() == defaults()
    assert changed_lines(configtext.default_text(), store.file.read_text()) == (
        ["renewed_lease: 60s"], ["renewed_lease: 1m"]
    )  # fmt: skip


def test_setting_without_a_file_writes_the_explained_defaults(store: Store) -> None:
    """The first `config set` in a store without a file leaves one that a person can go on with."""
    store.set("lease", "1h")
    assert changed_lines(configtext.default_text(), store.file.read_text()) == (["lease: 30m"], ["lease: 1h"])


def test_setting_in_a_file_of_comments_keeps_them(store: Store) -> None:
    """Comments alone are a person's text, too."""
    store.write("# lease: 1h\n# keep me\n")
    store.set("max_hops", "9")
    assert store.file.read_text().startswith("# lease: 1h\n# keep me\n")
    assert store.load().max_hops == 9


def test_setting_keeps_the_line_ends_of_windows(store: Store) -> None:
    """A file with CR LF keeps them on every line."""
    store.write(EDITED.replace("\n", "\r\n"))
    store.set("audit.every", "7")
    assert store.file.read_bytes().decode() == EDITED.replace("500", "7").replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        ("leese", "1h", "did you mean lease"),
        ("audit", "1", "did you mean audit.ref"),
        ("lease", "soon", "lease must be a duration"),
        ("lease", "a: b", "lease must be a duration"),
        ("heartbeat", "60s", "dead_after must be longer than heartbeat (1m)"),
        ("poll", "", "poll must be a list"),
    ],
)
def test_a_wrong_setting_is_refused_and_nothing_is_written(
    store: Store, key: str, text: str, problem: str
) -> None:
    """Exit 2 with what would be right; the file stays byte for byte."""
    store.write(EDITED)
    with pytest.raises(Usage, match=problem.replace("(", r"\(").replace(")", r"\)")):
        store.set(key, text)
    assert store.file.read_text() == EDITED


def test_a_broken_file_is_not_edited(store: Store) -> None:
    """`config set` on a file that does not load is exit 6 and leaves it to its author."""
    store.write("lease: 1h\nleese: 2h\n")
    with pytest.raises(StoreError, match=r"config.yaml:2:1: unknown key 'leese'"):
        store.set("max_hops", "3")
    assert store.file.read_text() == "lease: 1h\nleese: 2h\n"


def test_an_edit_by_somebody_else_is_not_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file changes between reading and writing, nothing is written and the caller is told."""
    store.write(EDITED)
    edited: Callable[..., str] = configtext.edited

    def slowly(*args: object) -> str:
        store.write("lease: 5h\n")
        return edited(*args)

    monkeypatch.setattr(configtext, "edited", slowly)
    with pytest.raises(StoreError, match="changed by somebody else"):
        store.set("max_hops", "3")
    assert store.file.read_text() == "lease: 5h\n"


def test_a_failed_write_leaves_the_old_file(store: Store) -> None:
    """The new file comes by rename: a full disk leaves the old one whole."""
    store.write(EDITED)
    store.disk = Unwilling(errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        store.set("max_hops", "3")
    assert store.file.read_text() == EDITED


def test_an_unknown_key_is_told_with_the_nearest(store: Store) -> None:
    """`config get` of a key that does not exist is exit 2 and names the nearest."""
    with pytest.raises(Usage, match="did you mean max_hops"):
        store.load().get("max_hop")

"""What the launcher runs: read the call, answer it, end.  A script; it imports as little as the answer takes.

Promised: one answer on stdout in the host's form, never a traceback, exit 0 but where a host wants another status; what
goes wrong stands in the log of hooks.  ``-I -S`` leaves out everything that `site` would load; where the store itself is
needed, `site` is asked for then.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mbox.hooks.codecs import Reply

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""Where the package `mbox` is."""


SILENCE = 5.0
"""Seconds for which more is waited for on stdin: a host that does not close it has said all."""


def main(words: list[str]) -> int:
    """Answer the call of ``HOST EVENT``; the exit status."""
    if not sys.path or sys.path[0] != SOURCE:
        sys.path.insert(0, SOURCE)
    if words[:1] == ["git"]:
        return _git(words[1:])
    from mbox.hooks import codecs

    data = _stdin(codecs.LONGEST + 1)
    if len(words) != 2 or words[0] not in codecs.HOSTS:
        _complain(f"called with {words[:4]!r}, not HOST EVENT")
        return 0
    try:
        cwd = os.getcwd()
    except OSError:
        cwd = "/"
    answer = _answer(words[0], words[1], data, cwd)
    if not _write(1, answer.stdout):
        return 2  # nobody hears the answer: what was to be denied is, by the status
    _write(2, answer.stderr)
    return answer.status


def _answer(host: str, event: str, data: bytes, cwd: str) -> Reply:
    from mbox.hooks import codecs, quick

    call = codecs.HostCall(codecs.HOSTS[host], event)
    call.error = "nothing was read"
    try:
        call = codecs.read(host, event, data, cwd)
        found = quick.answer(call, os.environ)
        if found is not None:
            return found
        _site()
        from mbox.hooks import calls

        return calls.answer(call, os.environ)
    except BaseException as error:  # noqa: BLE001 - no traceback reaches a host: the log has it, and the guard fails closed
        _complain(f"{call.host.name} {call.event}: {type(error).__name__}: {error}")
        if call.moment == codecs.BEFORE and (call.kind or call.error) and quick.fails_closed(call.cwd):
            return codecs.denied(call, f"mbox cannot judge this call, so it was not made: {type(error).__name__} (see hook.log)")
        return codecs.silent(call)


def _git(words: list[str]) -> int:
    """Git's hooks."""
    _site()
    from mbox.hooks import gitguard

    try:
        cwd = os.getcwd()
    except OSError:
        cwd = ""
    try:
        return gitguard.run(words[0] if words else "", words[1:], os.environ, cwd, sys.stdin.buffer if sys.stdin else None)
    except BaseException as error:  # noqa: BLE001 - what cannot be judged is refused, in one line
        _complain(f"git {words[:1]}: {type(error).__name__}: {error}")
        _write(2, f"mbox: this cannot be judged, so it is not done: {type(error).__name__} (see hook.log); "
                  "MBOX_OVERRIDE=REASON passes")  # fmt: skip
        return 1


def _site() -> None:
    """What `-S` left out: where the libraries are."""
    if "site" not in sys.modules:
        import site

        site.main()


def _complain(text: str) -> None:
    try:
        _site()
        from mbox.hooks import complaints

        complaints.log(text, os.environ)
    except BaseException:  # noqa: BLE001 - there is nobody left to tell
        pass


def _stdin(most: int) -> bytes:
    """What the host sent, at most ``most`` bytes."""
    from select import select

    found, size = [], 0
    try:
        while size < most and select([0], [], [], SILENCE)[0] and (data := os.read(0, 1 << 16)):
            found.append(data)
            size += len(data)
    except OSError:
        pass
    return b"".join(found)


def _write(fd: int, text: str) -> bool:
    """Write a line; whether it could be."""
    data = (text + "\n").encode("utf-8", "backslashreplace") if text else b""
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The caller's own variables for a member (API keys, homes, proxies), handed to its wrapper alone.

Which: those of the caller whose names its host reads (``env`` in `hosts.yaml`), those that every program reads
(`EVERYBODYS`), and those of the member's ``pass_env``.  A name that the caller has not set is no error.

How: whoever starts the member listens at a socket in Linux's abstract namespace, which is no file, under a name of 128
random bits; the pane's environment has that name (`VARIABLE`) and no value.  The member's wrapper connects, each of the two
asks the kernel for the other's user, the values are read once, and the program gets them.  So they stand in no file, in no
command line, in no tmux server (one that is started here is started without them), and in no other member: a wrapper does
not keep them in its own environment, so a watchdog that it starts has none either.

Started again: `team up` tells the watchdog what it has handed to members that are started again (`tell`), at another such
socket, and that keeps it in its memory (`Known`); a watchdog that begins later reads it in ``/proc/PID/environ`` of the
programs that run.  Which *names* a member was handed is remembered outside the store (`trust.environment`), without
values.  A watchdog that needs them and does not know them (it was started after the program's death; a reboot) starts
nobody, and says that `team up` does.

What a crash leaves: nothing; the socket is gone with its process, and a wrapper that finds none ends, and says why, before
its program has begun.  So does a pane that a person starts again by hand.  Not promised: anything against this user's own
processes and root, who can read what a process has in its environment.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING

from mbox.agents import presence
from mbox.errors import Refused
from mbox.format.documents import Document
from mbox.hosts import programs
from mbox.system import proc

if TYPE_CHECKING:
    import socket

    from mbox.store.store import Store

VARIABLE = "MBOX_HANDOVER"
"""Names the socket, in the environment of a wrapper."""

EVERYBODYS = tuple(name for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for name in (proxy, proxy.lower()))
"""What any program reads, whatever its host."""

PATIENCE = 30.0
"""Seconds for which values wait for their wrapper, as long as their process lives; and a wrapper for its values."""

MOMENT = 5.0
"""Seconds for which a watchdog that is only just coming up is waited for."""

Values = dict[str, str]


def values(member: Document, environ: Mapping[str, str]) -> Values:
    """What a member is handed of the variables ``environ``; its ``PATH`` is made for it, and has our commands."""
    wanted = patterns(member)
    own = {*(member.get("env") or {}), "PATH"}
    return {name: value for name, value in environ.items() if name not in own and _matches(name, wanted)}


def patterns(member: Document) -> list[str]:
    """The names that a member is handed; one that ends in ``*`` stands for all that begin so."""
    return [*EVERYBODYS, *programs.get(member.get("host") or "").env, *(member.get("pass_env") or [])]


def without(environ: Mapping[str, str], members: Iterable[Document]) -> dict[str, str]:
    """``environ`` without what any of ``members``, or any host, is handed: what all of them may have."""
    hosts = [name for host in programs.load().values() for name in host.env]
    wanted = [*hosts, *(name for member in members for name in patterns(member))]
    return {name: value for name, value in environ.items() if not _matches(name, wanted)}


def _matches(name: str, wanted: Iterable[str]) -> bool:
    return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in wanted)


# -- handing over ----------------------------------------------------------------------------------------------------


def offer(given: Values) -> dict[str, str]:
    """Wait in the background for the one who takes ``given``; what its environment needs to find it, empty for nothing."""
    import secrets
    import socket
    from threading import Thread

    if not given:
        return {}
    name = secrets.token_hex(16)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(_address(name))
    listener.listen(1)
    Thread(target=_serve, args=(listener, json.dumps(given).encode()), daemon=True).start()
    return {VARIABLE: name}


def _serve(listener: socket.socket, text: bytes) -> None:
    """Hand ``text`` to the first process of this user that comes, within `PATIENCE` of the last that came."""
    with listener:
        listener.settimeout(PATIENCE)
        try:
            while True:
                peer, _ = listener.accept()
                with peer:
                    if _user(peer) == os.geteuid():
                        peer.settimeout(PATIENCE)
                        peer.sendall(text)
                        return
        except OSError:
            return  # nobody came, or whoever did is gone: its wrapper says so


def taken(environ: MutableMapping[str, str]) -> Values:
    """What this process is handed, if anything; ``environ`` has `VARIABLE` no longer.  `Refused` if nobody hands it over."""
    import socket

    name = environ.pop(VARIABLE, None)
    if name is None:
        return {}
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(PATIENCE)
            peer.connect(_address(name))
            if _user(peer) != os.geteuid():
                raise Refused("the variables of this member are offered by another user; `team up` starts it again")
            text = b"".join(iter(lambda: peer.recv(65536), b""))
        found: Values = json.loads(text)
    except (OSError, ValueError):
        raise Refused("whoever started this member and has its variables is gone; `team up` starts it again") from None
    return found


def _address(name: str) -> str:
    return f"\0mbox-{name}"


def _user(peer: socket.socket) -> int:
    """The user at the other end, as the kernel says it."""
    import socket
    import struct

    return int(struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))[1])


# -- handing over again ----------------------------------------------------------------------------------------------


def tell(store: Store, given: Mapping[str, Values]) -> None:
    """Tell the store's watchdog what members were handed, within `MOMENT`; if none listens it has to see for itself."""
    import socket

    until = time.monotonic() + MOMENT
    while given and time.monotonic() < until:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
                peer.settimeout(MOMENT)
                peer.connect(_address(_watchdogs(store)))
                if _user(peer) == os.geteuid():
                    peer.sendall(json.dumps(given).encode())
                    peer.shutdown(socket.SHUT_WR)
                    peer.recv(1)
                return
        except OSError:
            time.sleep(0.05)  # it is only just coming up


def _watchdogs(store: Store) -> str:
    """The name at which the store's watchdog listens."""
    info = os.stat(store.lock.path)
    return f"watchdog-{os.geteuid()}-{info.st_dev}-{info.st_ino}"


class Known:
    """What members were handed, in a watchdog's memory, for when it starts them again."""

    def __init__(self, store: Store) -> None:
        import socket
        from threading import Thread

        self.store = store
        self._values: dict[str, Values] = {}
        self._seen: dict[str, int] = {}
        """The incarnation of each member that was looked at."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(_address(_watchdogs(store)))
            self._listener.listen()
        except OSError:
            return  # what is not heard is seen
        Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        while True:
            peer, _ = self._listener.accept()
            with peer:
                try:
                    if _user(peer) == os.geteuid():
                        peer.settimeout(MOMENT)
                        self._values.update(json.loads(b"".join(iter(lambda: peer.recv(65536), b""))))  # noqa: B023
                        peer.sendall(b".")
                except (OSError, ValueError):
                    continue

    def see(self, member: Document) -> None:
        """Note what a member's program was started with, once an incarnation; one that does not run is left as it was."""
        name = member["name"]
        beat = presence.heartbeat(self.store, name)
        if beat is None or not beat["child"] or self._seen.get(name) == beat["incarnation"]:
            return
        if not presence.counts_here(beat) or proc.start_ticks(beat["child"]) != beat["child_ticks"]:
            return
        environ = proc.environ(beat["child"])
        if environ.get("MBOX_INCARNATION") == str(beat["incarnation"]):  # else it is still the wrapper's, before its exec
            self._seen[name], self._values[name] = beat["incarnation"], values(member, environ)

    def given(self, member: Document) -> Values | None:
        """What it was handed last; None if that was never heard or seen."""
        return self._values.get(member["name"])

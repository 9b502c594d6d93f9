"""What git is told whenever it is started here: a closed environment, and settings that hold whatever a configuration says.

Promised: constants, and functions of the caller's environment; nothing is started.  (`plumbing` says what for.)  It is light: a
hook that answers in milliseconds starts git too.
"""

from __future__ import annotations

import os

from mbox.system import executables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PERSONS = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
"""Variables that say where a person's own configuration is."""

CLOSED = {
    "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0", "GIT_PAGER": "cat", "GIT_EDITOR": "false", "GIT_TEMPLATE_DIR": "",
}  # fmt: skip

SETTINGS = {
    "protocol.allow": "never", "safe.bareRepository": "explicit", "core.hooksPath": os.devnull, "core.fsmonitor": "",
    "core.askPass": "", "core.sshCommand": "false", "core.gitProxy": "", "core.alternateRefsCommand": "false",
    "credential.helper": "", "diff.external": "", "gpg.program": "false", "log.showSignature": "false",
    "submodule.recurse": "false", "gc.auto": "0", "maintenance.auto": "false",
}  # fmt: skip
"""What holds whatever the configurations say."""


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what would tell git of another repository, index, identity, language or program."""
    kept = {
        name: value
        for name, value in given.items()
        if (not name.startswith("GIT_") or name in PERSONS) and name != "LANGUAGE"
    }
    return {**kept, "LC_ALL": "C.UTF-8", "PATH": os.pathsep.join(executables.folders())}


def closed(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment in which git has no transport, and ``settings`` hold."""
    told = {"GIT_CONFIG_COUNT": str(len(settings))}
    for n, (key, value) in enumerate(settings.items()):
        told |= {f"GIT_CONFIG_KEY_{n}": key, f"GIT_CONFIG_VALUE_{n}": value}
    return environment(os.environ) | CLOSED | told

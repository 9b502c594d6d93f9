"""The controlling terminal: which process group has its foreground, and stopping as Ctrl-Z does (tcsetpgrp(3)).

Promised: the foreground is never taken from a group that lives, but for the one that is named.  Where there is no
terminal, nothing is done.  Not promised: that a group keeps the foreground; a shell gives it to whom it likes.
"""

from __future__ import annotations

import os
import signal

from .processes import group_members


def is_in_front() -> bool:
    """Whether stdin is a terminal and this process is in its foreground."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def give(old: int, new: int) -> bool:
    """Give the controlling terminal to group ``new`` if ``old`` has it, or nobody who lives; whether ``new`` has it."""
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        front = os.tcgetpgrp(fd)
        if front not in (old, new) and group_members(front):
            return False
        os.tcsetpgrp(fd, new)
        return True
    except OSError:
        return False  # the terminal, or the group, is gone
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(fd)


def stop(group: int) -> bool:
    """Stop this process's group as Ctrl-Z does; whether it was stopped, once it is continued.

    The kernel does not stop a group that no shell could continue (an orphaned one).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCONT])
    try:
        os.killpg(group, signal.SIGTSTP)
        return signal.sigtimedwait([signal.SIGCONT], 0) is not None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

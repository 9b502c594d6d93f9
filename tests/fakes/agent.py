#!/usr/bin/env python3
"""A small full-screen program that behaves like an agent's: an input box between two rules, redrawn all the time.

usage: agent.py LOG [MODE]…  Every line that is taken is appended to LOG as `took: …`; so is what reaches a dialog.
Modes: redraw (draws the box again and again), swallow (an Enter during a redraw is lost, two of three), dialog (a question
comes up now and then, and any Enter answers it; when it was drawn and when a key came is noted), half (half a line stands
typed, as by a person), busy (each line starts a turn), placeholder (a dim hint in an empty box), asks (a question of
five seconds comes up as soon as a long line stands typed, once), stays (a question is there from the beginning), burst (a
line and its Enter in one read count as a paste), quotes (its last answer holds a question, word for word), streams (each line
starts an answer above the empty box, and only the row below says so; a line that is taken meanwhile is noted as `cut`), grows
(an answer grows above the box from the beginning until a line is taken, and nothing says so), hangs (reads no key until SIGUSR1).
"""

# ruff: noqa: PLW0603 - a small program with a state
from __future__ import annotations

import os
import random
import select
import signal
import sys
import termios
import time
import tty

log_path, modes = sys.argv[1], set(sys.argv[2:])
seed = os.environ.get("FAKE_SEED", "1")
dice = random.Random(seed)
typed = "half a line" if "half" in modes else ""
taken: list[str] = []
busy_until = dialog_until = drawn_at = 0.0
next_dialog = time.monotonic() + dice.uniform(0.2, 2)
swallowing = 0


def note(text: str) -> None:
    """Append to the log."""
    with open(log_path, "a", encoding="utf-8") as file:
        file.write(text + "\n")


def draw() -> None:
    """Draw everything anew, in two halves, as slow programs do."""
    rows, columns = os.get_terminal_size()[::-1]
    now = time.monotonic()
    out = ["\x1b[?25l\x1b[H"]
    lines = [f"\x1b[2m> {line}\x1b[0m" for line in taken[-3:]]
    streams = "streams" in modes and now < busy_until
    if "quotes" in modes:
        lines += ["● It asked:", "  Do you want to make this edit?", "  ❯ 1. Yes", "  Press esc to interrupt, or Enter", ""]
    if "grows" in modes and not taken:
        lines += ["● An answer that goes on", f"  sentence {int(now * 12)}", ""]
    if streams:
        lines += ["● An answer that", *["  goes on"] * int((busy_until - now) * 4), ""]
    if now < busy_until and not streams:
        lines.append("\x1b[38;5;174m* \x1b[39mThinking… (1s · esc to interrupt)")
    if now < dialog_until:
        lines += ["Do you want to make this edit?", " ❯ 1. Yes", "   2. No"]
    else:
        lines.append("─" * (columns - 1))
        hint = "\x1b[7mT\x1b[0m\x1b[2mry to ask for something\x1b[0m" if "placeholder" in modes and not typed else ""
        box = f"❯\u00a0{typed}{hint or chr(27) + '[7m ' + chr(27) + '[0m'}"
        lines += [box, "─" * (columns - 1), "  esc to interrupt" if streams else "  ? for shortcuts"]
    for line in lines[:rows]:
        out.append(line + "\x1b[K\r\n")
    out.append("\x1b[J")
    text = "".join(out)
    half = len(text) // 2 if "redraw" in modes else len(text)
    sys.stdout.write(text[:half])
    sys.stdout.flush()
    if half < len(text):
        time.sleep(0.003)  # between the halves
        sys.stdout.write(text[half:])
        sys.stdout.flush()


def key(char: str) -> None:
    """Take one key."""
    global typed, busy_until, dialog_until, swallowing
    now = time.monotonic()
    if now < dialog_until:
        note(f"dialog got: {char!r} {drawn_at} {now}")
        if char in "\r\n":
            dialog_until = 0.0
        return
    if char in "\r\n":
        if "swallow" in modes:
            swallowing += 1
            if swallowing % 3:
                return
        if typed:
            note(f"{'cut' if 'streams' in modes and now < busy_until else 'took'}: {typed}")
            taken.append(typed)
            typed = ""
            if modes & {"busy", "streams"}:
                busy_until = now + dice.uniform(0.1, 0.6)
    elif char in "\x7f\b":
        typed = typed[:-1]
    elif char == "\x1b" or char == "\x03":
        note(f"forbidden: {char!r}")
    elif char.isprintable():
        typed += char


def main() -> None:
    """Draw and read keys until the terminal goes away."""
    global dialog_until, drawn_at, next_dialog
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGWINCH, lambda *_: None)
    note("up")
    if "stays" in modes:
        dialog_until = float("inf")
    if "hangs" in modes:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        draw()
        signal.sigwait({signal.SIGUSR1})
    try:
        while True:
            now = time.monotonic()
            if "dialog" in modes and now >= next_dialog:
                dialog_until, next_dialog = now + dice.uniform(0.2, 0.8), now + dice.uniform(1.2, 3)
                draw()
                drawn_at = time.monotonic()
            if "asks" in modes and len(typed) > 30:
                modes.discard("asks")
                dialog_until = now + 5
            draw()
            ready, _, _ = select.select([fd], [], [], dice.uniform(0.005, 0.06) if "redraw" in modes else 0.05)
            if ready:
                data = os.read(fd, 4096).decode("utf-8", "replace")
                if not data:
                    return
                if "burst" in modes and len(data) > 5 and data.endswith("\r"):
                    data = data[:-1]
                for char in data:
                    key(char)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


main()

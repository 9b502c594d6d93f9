"""Text that is written without spaces (Japanese, Chinese, Korean), cut into pairs of characters for full-text search.

Promised: whatever stands inside such text is found by the same characters, and by nothing else: `cut` makes of テスト計画
the words テス スト ト計 計画 画, and of a search for スト計 the phrase スト ト計 (`asked`); `whole` makes of cut text, or of
a piece of it, what it was.  The last character alone is there so that a search for one character finds it, as the
beginning of a word.  NFC and NFD are the same text.  What is not in these scripts stays as it is, and other text beside
it (``pythonスクリプト``) is a word of its own.

Not promised: that a hit is a word to who reads it (京都 is found in 東京都), nor that full and half width meet.
"""

from __future__ import annotations

import re

SEAM = "\ufdd0"
"""What stands between pairs: no character, so no text is to hold it, and no word does."""

_SCRIPTS = (
    "\u1100-\u11ff\u3005-\u3007\u3021-\u3029\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97c\uac00-\ud7a3\ud7b0-\ud7fb\uf900-\ufaff\uff66-\uffdc"
    "\U0001b000-\U0001b16f\U00020000-\U000323af"
)
"""Han, Hiragana, Katakana, Hangul, Bopomofo, with the marks that count as letters there, as a pattern's ranges."""

_RUN = re.compile(f"[{_SCRIPTS}]+")
_SEAMED = re.compile(f"(.){SEAM}(?=\\1)", re.DOTALL)


def cut(text: str) -> str:
    """``text`` with every run of these scripts as pairs, each the two characters at a place, and its last one alone."""
    if text.isascii():
        return text
    from unicodedata import normalize

    return _RUN.sub(lambda run: f"{SEAM}{_pairs(run[0])}{SEAM}", normalize("NFC", text.replace(SEAM, " ")))


def asked(text: str) -> tuple[str, bool]:
    """What is to be looked for, cut, and whether its last word may go on: it does where a run is searched for at the end."""
    made = cut(text)
    if not made.endswith(SEAM):
        return made, False
    before, seam, last = made[:-1].rpartition(SEAM)
    return (before, False) if seam and before[-1:] == last else (made, True)


def whole(text: str) -> str:
    """Cut text, or a piece of it between two of its words, as it was."""
    return _SEAMED.sub("", text).replace(SEAM, "")


def _pairs(run: str) -> str:
    return SEAM.join(run[at : at + 2] for at in range(len(run)))

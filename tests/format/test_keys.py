"""Idempotency keys: their fingerprints are those that the journals of older versions hold."""

from __future__ import annotations

from typing import Any

from mbox.format import keys
from mbox.mail.sending import MailDraft, Sending
from mbox.tasks import drafts, planning


def test_a_fingerprint_is_the_same_in_every_version() -> None:
    """As an older version recorded it: for a message, and for a task wherever it came from."""
    draft = MailDraft(body="hello", subject="größe", payload={"b": [1, None]}, key="k")
    sent = Sending("mail.send", draft, ("bob", "ann"), "m5", lambda tx, me, parent: [])
    assert sent.fingerprint() == "bb9529d750080a86-93"
    task = drafts.TaskDraft(id=None, title="Nightly", touched_paths=("src/a.py",), where="plan.yaml: 1")
    assert planning._fingerprint(task) == planning._fingerprint(task._replace(where="")) == "6c380cd46f2dc27d-95"


def test_a_fingerprint_tells_contents_apart() -> None:
    """Another order, type or nesting is another content."""
    contents: tuple[list[Any], ...] = (["a", "b"], ["b", "a"], ["ab"], [["a", "b"]], ["a", "b", None], ["1"], [1], [])
    assert len({keys.fingerprint(content) for content in contents}) == len(contents)

"""A mail storm: six agents that answer whatever they read, set off by one broadcast, end by the limits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from conftest import CHECKOUT
from kit import journaled
from mailkit import USER, send
from mbox.agents import registry
from mbox.format import places
from mbox.mail import lookup, sending
from mbox.mail.sending import MailDraft
from mbox.opening import init, open_store
from mbox.store.store import Actor, Store, Transaction
from mbox.system.watch import Watcher

ANSWERER = """
import os, sys
from mbox.mail import reading, sending as mail, waiting as asks
from mbox.errors import Refused
from mbox.mail.inbox import ANY
from mbox.mail.sending import MailDraft as Draft
from mbox.opening import open_store
from mbox.store.store import Actor
store = open_store(sys.argv[1], os.getcwd())
who, refused = Actor(sys.argv[2], 1), 0
with asks.inbox_watch(store, who.name) as bell:
    while True:
        for doc in asks.take(store, who, bell, ANY, 1, 0):
            if doc["type"] == "stop":
                print(refused)
                sys.exit()
            try:
                mail.reply(store, who, doc["msg_id"], Draft(body="and you?"))
            except Refused:
                refused += 1
            reading.finish(store, who, [doc])
"""

SIX = ("orc", "a1", "a2", "a3", "a4", "a5")
ORC, ZED, END = (Actor(name, 1) for name in ("orc", "zed", "end"))


def begun(root: Path, config: str) -> Store:
    """A store with the six, with zed, who writes to each of them, and end, who stops them, under ``config``."""
    init(str(root), here=True).store.close()
    (root / ".mailbox" / "config.yaml").write_text(config, encoding="utf-8")
    store = open_store(str(root), str(root))
    for name in (*SIX, "zed", "end"):
        role = "orchestrator" if name == "orc" else "worker" if name in SIX else "guest"
        registry.add(store, USER, name, {"role": role})
    return store


def is_over(tx: Transaction) -> bool:
    """Nobody has anything unread or unacknowledged: each answers before it acknowledges, so nothing more will come."""
    folders = (folder(name) for name in SIX for folder in (places.new_folder, places.cur_folder))
    return not any(tx.names(folder) for folder in folders)


def weathered(store: Store) -> int:
    """Let the storm run until it has ended; how many of their answers the agents saw refused."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "mailbox")}
    made = [
        subprocess.Popen(
            [sys.executable, "-c", ANSWERER, store.root, name], env=environment, stdout=subprocess.PIPE, text=True
        )
        for name in SIX
    ]
    with Watcher([store.journal.path(1)]) as watcher:
        while not store.transact(is_over, USER):
            watcher.wait(5)
    for name in SIX:
        send(store, END, name, type="stop")
    return sum(int(one.communicate(timeout=60)[0]) for one in made)


@pytest.mark.parametrize(
    ("config", "rule"),
    [("max_hops: 5\nsend_rate: 0\n", "max_hops is 5"), ("send_rate: 8\n", "send_rate allows no more")],
)
def test_a_storm_ends_by_the_limits(tmp_path: Path, config: str, rule: str) -> None:
    """It ends; every refusal stands in the journal with its rule and what it refused; no other message is lost."""
    store = begun(tmp_path, config)
    noise = [send(store, ZED, name, body=f"to {name}") for name in SIX]
    sending.broadcast(store, ORC, MailDraft(body="hello all"), role="worker")
    refused = weathered(store)
    records = journaled(store)
    rules = [record for record in records if record["op"] == "mail.refused"]
    assert refused == len(rules) > 0
    assert all(rule in record["why"] and len(record["on"]) == 1 for record in rules)
    sent = [record["put"][0][0] for record in records if record["op"] in ("mail.send", "mail.reply", "mail.broadcast")]
    assert set(noise) <= {doc["msg_id"] for doc in sent}
    for doc in sent:
        for name in doc["to"]:
            copy = lookup.copy(store, name, doc["msg_id"])
            assert copy is not None
            expected = "unread" if name == "zed" else "read" if doc["type"] == "stop" else "acked"
            assert (doc["msg_id"], name, copy["state"]) == (doc["msg_id"], name, expected)
    tried = Counter(record["put"][0][0]["parent_id"] for record in records if record["op"] == "mail.reply")
    tried += Counter(record["on"][0] for record in rules)
    for doc in sent:
        if doc["type"] != "stop" and doc["to"] != ["zed"]:
            assert tried[doc["msg_id"]] == len(doc["to"])
    if "hops" in rule:  # five chains of five replies each, and each one's sixth refused
        assert len(rules) == 5
        assert len(sent) == 2 * len(noise) + 1 + 5 * 5 + len(SIX)
    store.close()

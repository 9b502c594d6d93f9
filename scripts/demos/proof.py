"""Check from the journal alone what the demo claims, and say where the time went.

usage: proof.py JOURNAL.jsonl [TASK-OF-THE-KILLED]; exit 1 if a claim does not hold.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from datetime import datetime
from typing import Any

GRANTS = {"task.claim"}
ENDS = {f"task.{verb}" for verb in ("submit", "done", "fail", "release", "expire", "cancel")} | {"agent.dead", "agent.end"}


def when(record: dict[str, Any]) -> float:
    return datetime.fromisoformat(record["ts"]).timestamp()


def main(journal: str, killed: str) -> int:
    with open(journal, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    holder: dict[str, str] = {}
    paths: dict[str, set[str]] = {}
    accepted: Counter[str] = Counter()
    owners: dict[str, list[str]] = defaultdict(list)
    since: dict[str, float] = {}
    spent: dict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    wrong: list[str] = []
    stage: dict[str, str] = {}
    for record in records:
        op = record["op"]
        for doc, _paths in record.get("put", []):
            ident = doc.get("task_id") if "stage" in doc else None
            if not ident:
                continue
            stage[ident] = doc["stage"]
            now, before = when(record), since.get(ident)
            if before is not None:
                phase = "working" if op in ENDS or op == "task.start" else "in review" if "ve" in op else "waiting"
                spent[doc["stage"]][phase if op != "task.claim" else "waiting"] += now - before
            since[ident] = now
            if op in GRANTS:
                if ident in holder:
                    wrong.append(f"{ident} was claimed by {record['by']} while {holder[ident]} held it")
                clash = [other for other, own in paths.items() if own & set(doc["touched_paths"])]
                if clash:
                    wrong.append(f"{ident} works on a path of {clash[0]}")
                holder[ident] = record["by"]
                paths[ident] = set(doc["touched_paths"])
                owners[ident].append(record["by"])
            elif op in ENDS:
                holder.pop(ident, None)
                paths.pop(ident, None)
            if op in ("task.approve", "task.done"):
                accepted[ident] += 1
    wrong += [f"{ident} was accepted {accepted[ident]} times" for ident in stage if accepted[ident] != 1]
    for name in sorted(spent):
        times = ", ".join(f"{phase} {spent[name][phase]:.1f} s" for phase in ("waiting", "working", "in review"))
        print(f"   {name:8} {sum(1 for s in stage.values() if s == name):4} tasks: {times}")
    ops = Counter(record["op"] for record in records)
    print(f"   {len(records)} records: " + ", ".join(f"{op} {count}" for op, count in ops.most_common(8)))
    print(f"   one accepted done a task: {len(accepted)} of {len(stage)}; rejected on the way: {ops['task.reject']}")
    if killed:
        print(f"   {killed} of the killed worker was done by {owners[killed][-1]}, after {', '.join(owners[killed][:-1])}")
        if len(owners[killed]) < 2:
            wrong.append(f"{killed} was not picked up again")
    print("   never two live holders, no two workers on one path" if not wrong else "   " + "\n   ".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))

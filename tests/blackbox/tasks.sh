#!/usr/bin/env bash
# Tasks: four workers at once, each task once; dependencies in order; the token counts; a plan is all or nothing.
# shellcheck disable=SC1010,SC2016 # `task done` is a command; $ is meant
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"
agents w1 w2 w3 w4

for number in {1..12}; do
    printf '{"id": "a%s", "title": "first %s", "stage": "work"}\n' "$number" "$number"
    printf '{"id": "b%s", "title": "then %s", "stage": "work", "depends_on": ["a%s"]}\n' "$number" "$number" "$number"
done >../plan.jsonl
mbox task import ../plan.jsonl --quiet >/dev/null
expect 2 task import ../plan.jsonl
has "$(<../err)" 'there already'

worker() { # by the book: claim, work, done, until nothing is left
    export MBOX_AGENT=$1
    local claimed
    while claimed=$(task claim --wait 60s --start -o env); do
        eval "$claimed"
        mkdir "../working-$TASK_ID" # fails where two hold one task
        [[ $TASK_ID != b* ]] || [[ -e ../did-a${TASK_ID#b} ]]
        rmdir "../working-$TASK_ID"
        : >"../did-$TASK_ID"
        task done "$TASK_ID" --token "$TASK_TOKEN" >/dev/null
    done 2>>../workers.err
}
pids=()
for name in w1 w2 w3 w4; do
    worker "$name" &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid"
done
is "$(task list --status done --limit 0 -o id | wc -l)" 24
is "$(mbox log --op task.claim --limit 0 -o jsonl | wc -l)" 24
expect 1 task claim --as w1
has "$(<../err)" 'nothing ready'

# a token that moved on is told so and changes nothing
task add 'Taken over' --id over >/dev/null
eval "$(task claim over --as w1 -o env)"
old=$TASK_TOKEN
task release over --as w1 >/dev/null
eval "$(task claim over --as w1 -o env)"
expect 5 task done over --as w1 --token "$old"
expect 5 task done over --as w2
task done over --as w1 --token "$TASK_TOKEN" >/dev/null
has "$(task done over --as w1 --token "$TASK_TOKEN")" '"already":true'

# results and notes come back as they were
task add 'Note it' --id noted --description '{{x}} 100% $HOME' >/dev/null
printf 'C:\\new\\table\n' | task note noted - >/dev/null
has "$(task show noted)" '"description":"{{x}} 100% $HOME"'
has "$(task show noted)" '"text":"C:\\new\\table\n"'

# a failure blocks what waits for it, and says why; requeue mends that
task add 'Needs it' --id needs --depends-on noted >/dev/null
task claim noted --as w1 >/dev/null
task fail noted --as w1 --reason 'cannot' >/dev/null
has "$(task ready --explain needs)" 'depends on noted (failed)'
expect 1 task claim --as w2
task list --status failed -o id | task requeue - >/dev/null
task claim --as w2 --wait 5s >/dev/null
expect 2 task update noted --add-dep needs
has "$(<../err)" 'cycle'
mbox doctor >/dev/null
echo 'tasks: ok'

#!/usr/bin/env bash
# Reviews: never by who did it, under a lease of its own, with a reason that reaches the owner; a dead holder's work
# goes back to the queue.
# shellcheck disable=SC1010,SC2016 # `task done` is a command; $ is meant
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"
agents ann bob cat
task add 'Write it' --id it --path src/it.py >/dev/null
task claim --as ann --start >/dev/null
task submit it --as ann --to bob --keep --result '{"commit": "1f2e"}' >/dev/null
expect 5 task approve it --as ann
expect 5 task approve it --as cat
expect 5 reserve src/it.py --as cat # --keep
request=$(mbox read --as bob --wait 5s -o id)
expect 0 mbox show "$request"
expect 0 task reject it --as bob --reason 'no test'
has "$(mbox read --as ann)" 'no test'
eval "$(task claim it --as ann --start -o env)"
# shellcheck disable=SC2153 # the eval sets them
is "$TASK_ROUND $TASK_REASON" '2 no test'
task submit it --as ann >/dev/null
expect 1 task review --as ann
task review --as cat >/dev/null
expect 5 task review it --as bob
task approve it --as cat >/dev/null
has "$(task approve it --as cat)" '"already":true'
is "$(reserve list)" '[]'

# a lease that runs out: whoever comes next has the task, the old holder is told so
task add 'Abandoned' --id left --max-attempts 5 >/dev/null
eval "$(task claim left --as ann --lease 1s -o env)"
old=$TASK_TOKEN
task claim left --as bob --wait 60s >/dev/null
expect 5 task done left --as ann --token "$old"
expect 0 task done left --as bob
has "$(mbox log --task left --op task.expire)" 'ran out'

# an older process of a name is told that another one took it over
task add 'Old process' --id older >/dev/null
export MBOX_AGENT=ann MBOX_INCARNATION=1
task claim older >/dev/null
MBOX_INCARNATION='' mbox agent add ann --new >/dev/null
expect 5 task done older
expect 5 mbox send bob --body 'I am the old one'
has "$(<../err)" 'incarnation'
unset MBOX_AGENT MBOX_INCARNATION
mbox doctor >/dev/null
echo 'review: ok'

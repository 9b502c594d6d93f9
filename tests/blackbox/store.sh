#!/usr/bin/env bash
# The store: init twice, found from below, kept out of git, doctor and rebuild, and brought back from the audit ref.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"
expect 6 mbox status
has "$(<../err)" 'mbox init'
agents ann bob
expect 0 mbox init
has "$(<../out)" '"made":false'
is "$(git status --porcelain)" ''
(cd src && is "$(mbox me --as ann | grep -o '"root":"[^"]*"')" "\"root\":\"$(cd .. && pwd -P)\"")

mbox send bob --as ann --body 'kept' >/dev/null
task add 'Kept' --id kept --path src/parse.py >/dev/null
task claim --as bob >/dev/null

# a damaged document is found and mended from the journal
echo '{' >.tasks/kept.json
expect 1 mbox doctor
has "$(<../out)" '.tasks/kept.json'
expect 0 mbox doctor --repair
is "$(task list -o id)" kept
rm .tasks/kept.json
mbox rebuild >/dev/null
expect 0 mbox doctor

# the worst that git does to a store
mbox audit commit >/dev/null
before=$(mbox inbox --as bob; task list)
git clean -fdxq
expect 6 mbox status
mbox audit restore >/dev/null 2>&1
is "$(mbox inbox --as bob; task list)" "$before"
expect 0 mbox doctor
is "$(git status --porcelain)" ''
is "$(git branch --list)" '* main'

# settings keep comments; what is not one is refused
mbox config set lease 1h >/dev/null
has "$(mbox config get lease)" '"value":"1h"'
expect 3 mbox config get leas
expect 2 mbox config set lease soon
is "$(grep -c '^#' .mailbox/config.yaml | grep -vc '^0$')" 1
for shell in bash zsh fish; do
    has "$(mbox completion "$shell")" _MBOX_COMPLETE
done
echo 'store: ok'

#!/usr/bin/env bash
# Files: reservations keep agents apart, several at once or none; a command under one; a lock for what only one may do.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"
agents ann bob
mkdir -p src/lib docs
touch src/parse.py src/lib/tree.py docs/a.md docs/b.md

held=$(reserve 'src/**' --as ann --reason 'rename' -o id)
expect 5 reserve src/lib/tree.py --as bob
has "$(<../err)" "$held of ann"
has "$(<../err)" 'rename'
expect 5 reserve docs/a.md src/new.py --as bob # all or nothing
expect 0 reserve check docs/a.md --as bob
has "$(<../out)" '"state":"free"'
expect 1 reserve check src/parse.py --as bob
expect 0 reserve check --mine src/parse.py --as ann
is "$(reserve 'src/**' --as ann -o id)" "$held"

# from a subfolder: paths start at the root, ./ where one stands
(
    cd src
    out=$(reserve lib/tree.py --as ann 2>&1) && exit 1
    has "$out" 'did you mean src/lib/tree.py'
    expect 0 reserve ./lib/tree.py --as ann
)

# the shell expands what is not quoted, and is found out
expect 0 reserve docs/* --as ann
has "$(<../err)" 'quote it'
reserve release --all --as ann >/dev/null

# a command under a reservation: its status, and nothing left behind
expect 7 reserve 'docs/**' --as bob -- bash -c 'exit 7'
is "$(reserve list)" '[]'
reserve 'docs/**' --as ann >/dev/null
reserve docs/a.md --as bob --wait 60s -- touch ../bob-had-it &
reserve release 'docs/**' --as ann >/dev/null
wait $!
[[ -e ../bob-had-it ]]

# the guard of a commit
git add docs
reserve docs/a.md --as ann >/dev/null
expect 1 reserve check --staged --as bob
expect 1 reserve check --mine --staged --as ann # docs/b.md is not reserved
reserve 'docs/*' --as ann >/dev/null
expect 0 reserve check --mine --staged --as ann

# a lock: never two at a time
count() {
    local number
    mkdir ../alone
    number=$(<../count)
    echo $((number + 1)) >../count
    rmdir ../alone
}
export -f count
echo 0 >../count
pids=()
for _ in {1..8}; do
    mbox lock counter -- bash -ec count &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid"
done
is "$(<../count)" 8
expect 127 mbox lock counter -- no-such-command
mbox doctor >/dev/null
echo 'files: ok'

#!/usr/bin/env bash
# Mail between agents: sent once, read once, acknowledged; a listing changes nothing; a body comes back as it was.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"
agents ann bob cat

sent=$(mbox send bob cat --as ann --subject 'a parser' --body $'it\'s "done"\n\tC:\\new $HOME 100%' --key k1 -o id)
again=$(mbox send bob cat --as ann --subject 'a parser' --body $'it\'s "done"\n\tC:\\new $HOME 100%' --key k1 -o id)
is "$again" "$sent"
for agent in bob cat; do
    is "$(mbox inbox --as "$agent" -o id)" "$sent"
    is "$(mbox inbox --as "$agent" -o id)" "$sent"
done
is "$(mbox read --as bob | python3 -c 'import json, sys; print(json.load(sys.stdin)["body"])')" \
    $'it\'s "done"\n\tC:\\new $HOME 100%'
expect 1 mbox read --as bob
is "$(mbox inbox --as bob -o id)" ''

# needs_ack: read is not enough, a reply is
urgent=$(mbox send bob --as ann --body 'please' --needs-ack --priority urgent -o id)
mbox send bob --as ann --body 'later' >/dev/null
eval "$(mbox read --as bob -o env)"
is "$MSG_ID" "$urgent"
has "$(mbox me --as bob)" "mbox ack $urgent"
mbox reply "$urgent" --as bob --body 'yes' >/dev/null
is "$(mbox me --as bob | grep -c "mbox ack" || true)" 0

# waiting: mail that comes later is seen; time that runs out is 4; ids travel on stdin
expect 4 mbox wait --as cat --from bob --timeout 1s
mbox wait --as cat --from bob --timeout 60s >../waited &
mbox send cat --as bob --body 'now' >/dev/null
wait $!
has "$(<../waited)" '"from":"bob"'
mbox inbox --as cat -o id | mbox read --as cat - >/dev/null
is "$(mbox inbox --as cat)" '[]'

# who is unknown is not written to, and nothing happens by halves
before=$(mbox log --limit 1)
expect 3 mbox send bob kat --as ann --body x
has "$(<../err)" 'did you mean cat'
expect 2 mbox send bob --body x
expect 2 mbox broadcast --as ann --body x
has "$(<../err)" 'refused:'
is "$(mbox log --limit 1 --op mail.send)" "$(mbox log --limit 1 --op mail.send --since 1)"
is "$(mbox log --limit 0 | grep -c '"op":"mail.send"')" 4
has "$before" mail.
mbox doctor >/dev/null
echo 'mail: ok'

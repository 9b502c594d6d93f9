# Sourced by the commands beside it, with `here` = the command's own path: becomes checkout.py under the checkout's own
# .venv, else under the python3 on the PATH. Starts no other process. mailbox/ goes on Python's path as a source root,
# which leaves `import mailbox` the standard library's.
# shellcheck shell=bash

bin=${here:?is set by the command that sources this}
bin=${bin%/*}
[[ $bin == /* ]] || bin=$PWD/$bin
case $bin in
    */../* | */./*) root= ;;
    */bin) [[ -L $bin ]] && root= || root=${bin%/bin} ;;
    *) root= ;;
esac
# Python takes `..` out of its path by the text alone, which is wrong behind a link; only these calls cost a process.
[[ -n $root ]] || root=$(cd -P "$bin/.." && pwd) || exit 127

python=$root/.venv/bin/python
if [[ ! -x $python ]]; then
    python=python3
    if ! hash python3 2>/dev/null; then
        printf '%s: no python3 on the PATH; install Python 3.11 or later, then run %s/scripts/demo or %s/scripts/test\n' \
            "${here##*/}" "$root" "$root" >&2
        exit 127
    fi
fi

case ${PYTHONPATH-} in
    "$root/mailbox" | "$root/mailbox:"*) ;;
    *) PYTHONPATH=$root/mailbox${PYTHONPATH:+:$PYTHONPATH} ;;
esac
export PYTHONPATH

exec "$python" "$root/bin/checkout.py" "${here##*/}" "$@"

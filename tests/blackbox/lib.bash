# What the suites beside this file share. Each runs in a fresh repository with the installed commands on its PATH.
unset MBOX_AGENT MBOX_ROOT MBOX_INCARNATION

fail() {
    printf 'FAILED at line %s: %s\n' "${BASH_LINENO[1]}" "$*" >&2
    exit 1
}

expect() { # expect STATUS COMMAND...: stdout and stderr go to the files out and err beside the repository
    local wanted=$1 status=0
    shift
    "$@" >../out 2>../err || status=$?
    [[ $status == "$wanted" ]] || fail "exit $status, not $wanted: $* ($(<../err))"
}

is() { # is ACTUAL WANTED
    [[ $1 == "$2" ]] || fail "$1 is not $2"
}

has() { # has TEXT PART
    [[ $1 == *"$2"* ]] || fail "$2 is not in: $1"
}

agents() { # agents NAME...: a store, and these in it
    local name
    mbox init --quiet >/dev/null
    for name; do
        mbox agent add "$name" >/dev/null
    done
}

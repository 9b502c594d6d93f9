"""Run one of the commands from a checkout: ``checkout.py mbox|task|reserve [ARGUMENT]...``.

Started by the scripts beside it, which have put ``mailbox/`` on the path.  Must parse under any Python 3, because the
one that is found may be too old to do more than say so.  Status 127, as a shell's for a command that cannot be run.
"""

import os
import sys

if not getattr(sys.flags, "safe_path", False):
    del sys.path[0]  # this folder
del sys.argv[0]
try:
    if sys.version_info < (3, 11):
        raise ImportError
    import click  # noqa: F401
except ImportError:
    scripts = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "scripts")
    sys.stderr.write(
        "%s: %s is older than 3.11 or has no click; run %s/demo or %s/test, which set up what it takes\n"
        % (sys.argv[0], sys.executable, scripts, scripts)
    )
    sys.exit(127)
command = sys.argv[0]
sys.exit(getattr(__import__("mbox.cli.main", fromlist=[command]), command)())

"""A process of ours as `system.interpreter` starts it: ``python -P -E …/mbox/cli/__main__.py mbox|task|reserve|team|workflow …``.

Run by its path and not by ``-m``, so that a checkout that is not installed is found without a variable.
"""

import os
import sys

source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if source not in sys.path:
    sys.path.insert(0, source)

from mbox.cli.main import named  # noqa: E402 - found once the path is right

named(sys.argv[1:])

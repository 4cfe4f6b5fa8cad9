"""Say in one sentence what this machine lacks to set wattshed up.

It runs before anything is installed and on any Python 3, so that an old one is told and does not
stumble over newer syntax.
"""

import sys

VERSION = ".".join(str(part) for part in sys.version_info[:2])

if tuple(sys.version_info) < (3, 11):
    sys.exit(
        f"wattshed needs Python 3.11 or newer, this is {VERSION}; name another with "
        "`make PYTHON=python3.12 ...`"
    )
if sys.platform != "linux":
    sys.exit(f"wattshed reads Linux's power meters; it does not run on {sys.platform}")
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    sys.exit(
        "wattshed needs Python's venv module; on Debian and Ubuntu: apt-get install python3-venv"
    )

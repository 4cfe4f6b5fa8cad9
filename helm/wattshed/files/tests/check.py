"""Ask an installed collector what only works where all of it does; `helm test` runs this.

Environment: WATTSHED_URL, WATTSHED_TOKENS (a folder with the files `read` and `metrics`),
WATTSHED_CA_FILE (empty: the system's authorities), WATTSHED_SECONDS (patience, for each step) and
WATTSHED_READINGS (`false` where no exporter is expected).
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

URL = os.environ["WATTSHED_URL"].rstrip("/")
TOKENS = Path(os.environ["WATTSHED_TOKENS"])
SECONDS = float(os.environ.get("WATTSHED_SECONDS", "120"))
TRUST = ssl.create_default_context(cafile=os.environ.get("WATTSHED_CA_FILE") or None)


def ask(path: str, token: str = "") -> bytes:
    """GET a path with the token of a file; raises OSError for everything but an answer of 200."""
    request = urllib.request.Request(URL + path)
    if token:
        shown = (TOKENS / token).read_text().strip()
        request.add_header("Authorization", f"Bearer {shown}")
    with urllib.request.urlopen(request, timeout=10, context=TRUST) as answer:
        return bytes(answer.read())


def ready() -> str:
    return f"it answers {json.loads(ask('/readyz'))['status']}"


def read() -> str:
    return f"version {json.loads(ask('/v1/status', 'read'))['version']}"


def metrics() -> str:
    return f"{len(ask('/metrics', 'metrics').splitlines())} lines"


def readings() -> str:
    """Power by node, as the store knows it; nothing there is a failure like any other."""
    rows = json.loads(ask("/v1/power?by=node", "read"))["rows"]
    if not rows:
        raise OSError("no exporter's readings have arrived")
    return ", ".join(f"{row['name']} {row['watts']:.0f} W" for row in rows[:10])


def step(name: str, check: Callable[[], str]) -> bool:
    """Try a step until it works or patience ends; say how it went."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            print(f"ok      {name}: {check()}", flush=True)
            return True
        except urllib.error.HTTPError as error:
            why = f"{error.code} {error.read(500).decode(errors='replace').strip()}"
        except (OSError, ValueError, KeyError) as error:
            why = str(error)
        if time.monotonic() >= end:
            print(f"FAILED  {name}: {URL}: {why}", flush=True)
            return False
        time.sleep(min(2.0, SECONDS / 10))


def main() -> int:
    steps = {
        "the collector is ready": ready,
        "the token `read` reads": read,
        "the token `metrics` scrapes": metrics,
    }
    if os.environ.get("WATTSHED_READINGS", "true") != "false":
        steps["readings arrive"] = readings
    went = [step(name, check) for name, check in steps.items()]
    return 0 if all(went) else 1


if __name__ == "__main__":
    sys.exit(main())

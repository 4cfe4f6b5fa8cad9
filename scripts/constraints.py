"""Resolve pyproject.toml afresh, in a throw-away environment, into constraints.txt.

Versions only, no addresses: the file works with any package index.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Every version that wattshed is built and tested with: runtime, extras and development.
# Written by `make constraints`; used by the Makefile and CI.
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "install", "--upgrade", "pip"], check=True)
        subprocess.run([*pip, "install", f"{ROOT}[nvidia,k8s,collector,web,otel]"], check=True)
        groups = (f"{ROOT}/pyproject.toml:dev", f"{ROOT}/pyproject.toml:bench")
        wanted = [word for group in groups for word in ("--group", group)]
        subprocess.run([*pip, "install", "hatchling", *wanted], check=True)
        frozen = subprocess.run(
            [*pip, "freeze", "--all"], check=True, capture_output=True, text=True
        ).stdout
    pinned = [
        line
        for line in frozen.splitlines()
        if "==" in line and not line.startswith(("wattshed", "setuptools"))
    ]
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(sorted(pinned, key=str.lower)) + "\n")
    print(f"{len(pinned)} versions pinned", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Print what pyproject.toml requires, with the extras that are named, as pip's requirements.

An image installs these before it sees our sources, so that changing those fetches nothing anew.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(project: Path, extras: list[str]) -> list[str]:
    """Return the requirements of a pyproject.toml; ``SystemExit`` names an extra it lacks."""
    declared = tomllib.loads(project.read_text())["project"]
    optional = declared["optional-dependencies"]
    if unknown := sorted(set(extras) - set(optional)):
        sys.exit(f"{project}: there is no extra {', '.join(unknown)}")
    return [*declared["dependencies"], *(name for extra in extras for name in optional[extra])]


if __name__ == "__main__":
    print(*requirements(Path("pyproject.toml"), sys.argv[1:]), sep="\n")

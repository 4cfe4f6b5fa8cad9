"""What a machine lacks is said in one sentence before anything is set up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "require.py"


def require(preparation: str) -> subprocess.CompletedProcess[str]:
    code = f"import runpy, sys; {preparation}; runpy.run_path({str(SCRIPT)!r})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("preparation", "sentence"),
    [
        ("sys.version_info = (3, 9, 2)", "needs Python 3.11 or newer, this is 3.9"),
        ("sys.modules['ensurepip'] = None", "apt-get install python3-venv"),
        ("sys.platform = 'darwin'", "does not run on darwin"),
    ],
)
def test_what_is_missing_is_named(preparation: str, sentence: str) -> None:
    run = require(preparation)
    assert run.returncode == 1
    assert sentence in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_a_machine_that_has_everything_passes() -> None:
    run = require("pass")
    assert (run.returncode, run.stderr) == (0, "")

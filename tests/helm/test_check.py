"""What ``helm test`` runs, as the process that it is, against real programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.fixtures.programs import collecting, exporting
from tests.fixtures.stores import Stores
from tests.helm.chart import CHART

from wattshed_collector.store.migrate import Layout

pytestmark = pytest.mark.e2e

SECURITY = """
tokens:
  - {name: exporter, file: ingest, roles: [ingest]}
  - {name: reader, file: read, roles: [read]}
  - {name: scraper, file: metrics, roles: [metrics]}
"""


def check(url: str, tokens: Path, **environ: str) -> tuple[int, str]:
    script = (CHART / "files/tests/check.py").read_text()
    environ = {
        "WATTSHED_URL": url,
        "WATTSHED_TOKENS": str(tokens),
        "WATTSHED_SECONDS": "0",
    } | environ
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    folder = tmp_path / "tokens"
    folder.mkdir()
    for role in ("ingest", "read", "metrics"):
        (folder / role).write_text(f"{role}-" + 30 * "x" + "\n")
        (folder / role).chmod(0o600)
    (folder / "security.yaml").write_text(SECURITY)
    (folder / "security.yaml").chmod(0o600)
    return folder


def test_it_fails_until_all_of_it_works(tmp_path: Path, tokens: Path, stores: Stores) -> None:
    stores.prepare(tmp_path / "data", Layout(), by_link=True)
    settings = f"--security.file={tokens / 'security.yaml'}"
    with collecting(tmp_path, settings) as url:
        status, said = check(url, tokens)
        assert status == 1
        assert said.count("ok ") == 3
        assert "FAILED  readings arrive" in said
        assert check(url, tokens, WATTSHED_READINGS="false")[0] == 0
        token = (tokens / "ingest").read_text().strip()
        pushed = (f"--otlp.endpoint={url}", "--sources=simulate", "--simulate.history-hours=0")
        with exporting(tmp_path, *pushed, WATTSHED_OTLP_TOKEN=token):
            status, said = check(url, tokens, WATTSHED_SECONDS="60")
            assert status == 0, said
        (tokens / "read").write_text("another")
        status, said = check(url, tokens)
        assert status == 1
        assert "FAILED  the token `read` reads" in said
        assert "401" in said


def test_it_says_where_it_asked_when_nobody_answers(tokens: Path) -> None:
    status, said = check("http://127.0.0.1:9", tokens)
    assert status == 1
    assert "FAILED  the collector is ready: http://127.0.0.1:9: " in said

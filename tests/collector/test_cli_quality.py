"""``wattshed quality`` on a folder that no collector has open."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.stores import Stores

from wattshed_collector.cli import main
from wattshed_collector.store.migrate import Layout


def test_scores_are_recorded_and_what_drifted_is_the_status(
    stores: Stores, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stores.prepare(tmp_path, Layout())
    said = ("--model", "m", "--metric", "top1", "--better", "higher", "--data", str(tmp_path))
    for words, status in (
        (("record", *said, "--score", "0.8", "--calibration", "--at", "2026-01-15T10:00Z"), 0),
        (("record", *said, "--score", "0.4", "--at", "2026-01-16T10:00Z"), 0),
        (("drift", "--data", str(tmp_path)), 1),
    ):
        with pytest.raises(SystemExit) as ended:
            main(("quality", *words))
        assert ended.value.code == status, words
    out = capsys.readouterr().out
    assert out.splitlines()[:2] == ["1 stored", "1 stored"]
    assert "drifted" in out

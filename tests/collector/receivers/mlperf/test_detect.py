"""Which family a folder belongs to, also where half of it is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattshed_collector.receivers.mlperf import Kind, ResultError, detect


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("spl.txt", Kind.INFERENCE),
        ("mlperf_log_detail.txt", Kind.INFERENCE),
        ("result_7.txt", Kind.TRAINING),
        ("power/result_7/node_0.txt", Kind.TRAINING),
        ("results.txt", Kind.TINY),
        ("trace1-energy.bin", Kind.TINY),
    ],
)
def test_any_file_names_the_family(tmp_path: Path, name: str, kind: Kind) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert detect(tmp_path) is kind


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="is no MLPerf result folder"):
        detect(tmp_path)
    with pytest.raises(ResultError, match="is not a folder"):
        detect(tmp_path / "none")

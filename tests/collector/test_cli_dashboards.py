"""``wattshed dashboards``: what is asked wrongly is said before anything is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattshed_collector.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--var", "team"), "--var team: write NAME=VALUE, such as team=research"),
        (("--var", "=research"), "--var : write NAME=VALUE"),
        (("--width", "10"), "--width 10: from 400 to 4000 pixels"),
        (("--scale", "nan"), "--scale nan: from 0.25 to 4"),
        (("--theme", "pink"), "invalid choice: 'pink'"),
        (("--png", "--html"), "not allowed with argument"),
    ],
    ids=" ".join,
)
def test_wrong_usage(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(["dashboards", "preview", "--out", str(out), *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not out.exists()

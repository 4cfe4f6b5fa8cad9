"""``/v1/advice`` and ``wattshed advice`` on a collector that has nothing to advise."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.cli import main
from wattshed_collector.config import Config

if TYPE_CHECKING:
    from tests.collector.conftest import Running


def status(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(["advice", *arguments])
    return ended.value.code


def test_it_is_asked_over_http_and_by_command(
    collect: Callable[[Config], AbstractContextManager[Running]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = str(tmp_path / "data")
    with collect(Config(listen="127.0.0.1:0", data=data)) as running:
        empty = {"advice": [], "open_joules_per_month": 0, "saved_joules": 0}
        assert running.get("/v1/advice").json == empty
        assert running.get("/v1/advice?state=new").status == 400
        url = ["--url", running.url]
        assert status("list", *url) == 0
        assert status("find", *url) == 0
        assert status("done", "abc", *url) == 2
        assert status("show", "abc", *url) == 2
        assert status("list", "--state", "new", *url) == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == ["nothing is advised", "0 found"]
    assert "there is no advice 'abc'" in said.err
    # No collector runs: the store itself is asked, and nothing can be said.
    assert status("list", "--data", data, "--json") == 0
    assert json.loads(capsys.readouterr().out) == empty
    assert status("dismiss", "abc", "--data", data) == 1

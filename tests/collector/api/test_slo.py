"""``/v1/slo`` and ``wattshed slo``: a collector with a file of objectives is asked."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.cli import main
from wattshed_collector.config import Config, SloFile
from wattshed_collector.slo import BURNS

if TYPE_CHECKING:
    from tests.collector.conftest import Running

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "slos.yaml"
LEAST = {"name": "a", "outcome": "token", "target_joules_per_outcome": 2, "objective_ratio": 0.5}


def test_it_is_asked_over_http_and_by_command(
    collect: Callable[[Config], AbstractContextManager[Running]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "slos.yaml"
    file.write_text(json.dumps({"slos": [LEAST, {**LEAST, "name": "c"}]}))
    config = Config(listen="127.0.0.1:0", data=str(tmp_path / "data"), slo=SloFile(file=file))
    with collect(config) as running:
        end = time.monotonic() + 120
        while not running.get("/v1/slo").json["slos"] and time.monotonic() < end:
            time.sleep(0.05)
        first = running.get("/v1/slo?limit=1")
        (slo,) = first.json["slos"]
        assert (slo["slo"], slo["is_burning"]) == ("a", False)
        assert slo["budget"]["left_ratio"] is None
        following = re.fullmatch(r'<(.*)>; rel="next"', first.headers["Link"])
        assert following
        rest = running.get(following[1]).json
        assert ([slo["slo"] for slo in rest["slos"]], rest["next"]) == (["c"], None)
        assert running.get("/v1/slo?limit=0").status == 400
        assert running.get("/v1/slo?name=a").json["slos"][0]["workloads"] == []
        for form in ("json", "csv"):
            assert running.get(f"/v1/slo?name=b&format={form}").status == 400
        table = running.get("/v1/slo?format=csv&limit=1")
        head, *lines = table.body.decode().splitlines()
        assert head.startswith("slo,owner,outcome,sli,severity,factor,")
        assert len(lines) == len(BURNS)
        assert "Link" in table.headers
        url = ["--url", running.url]
        assert _status("slo", "check", *url) == 0
        assert _status("slo", "check", "b", *url) == _status("slo", "explain", "b", *url) == 2
        assert _status("slo", "list", *url) == _status("slo", "explain", "a", *url) == 0
    said = capsys.readouterr().out
    assert "at most 2.00 J for each token" in said
    assert "\x1b" not in said
    assert _status("slo", "check", "--url", "http://127.0.0.1:1") == 2
    assert _status("slo", "check", "--file", str(EXAMPLE)) == 0
    file.write_text("slos: [{name: a}]")
    assert _status("slo", "check", "--file", str(file)) == 2
    assert "outcome is missing" in capsys.readouterr().err


def _status(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code

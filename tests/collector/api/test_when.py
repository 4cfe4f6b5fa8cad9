"""``/v1/when`` and ``wattshed when``: a collector that knows a zone from a file is asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.cli import answers, main
from wattshed_collector.config import Config, Grid, GridPolicy
from wattshed_collector.grid.series import Step
from wattshed_collector.store import grid as store_grid
from wattshed_collector.store.grid import Told

if TYPE_CHECKING:
    from tests.collector.conftest import Running

HOUR = 3600


def status(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def run(*arguments: str) -> object:
    return status("when", "--duration", "1h", *arguments)


def test_it_is_asked_over_http_and_by_command(
    collect: Callable[[Config], AbstractContextManager[Running]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = int(time.time())
    file = tmp_path / "grid.csv"
    rows = [f"{now - HOUR},{now + 2 * HOUR},IE,300", f"{now + 2 * HOUR},{now + 4 * HOUR},IE,100"]
    file.write_text("\n".join(["start,end,zone,value", *rows]))
    data = str(tmp_path / "data")
    policy = GridPolicy(
        name="batch", match={"team": "batch"}, hold_above=200.0, hold_at_most_seconds=9 * HOUR
    )
    grid = Grid(zones={"": "IE"}, files=(file,), policies=(policy,))
    config = Config(listen="127.0.0.1:0", data=data, grid=grid)
    with collect(config) as running:
        end = time.monotonic() + 60
        path = "/v1/when?zone=IE&duration=1h&deadline=4h"
        while running.get(path).json["plan"] is None and time.monotonic() < end:
            time.sleep(0.05)
        plan = running.get(path).json["plan"]
        assert (plan["start"], plan["rests_on"]) == (now + 2 * HOUR, ["known"])
        assert running.get("/v1/when?zone=IE&duration=1h").status == 400
        url = ["--url", running.url]
        assert run("--deadline", "4h", "--zone", "IE", *url) == 10
        assert run("--deadline", "90m", "--zone", "IE", *url) == 0
        assert run("--deadline", "4h", "--zone", "DE", *url) == 3
        asked = ["--job", "j/1", "--duration", "1h", "--deadline", "8h", "--zone", "IE", *url]
        batch = ["--attribute", "team=batch"]
        assert status("decide", *asked) == 0
        assert status("decide", *asked, *batch, "--dry-run") == 10
        assert status("decide", *asked, *batch) == 10
        assert status("decide", *asked, "--attribute", "team") == 2
        assert running.get("/v1/shifted?since=1h").json["jobs"] == []
        assert status("shifted", *url) == 0
    said = capsys.readouterr().out
    assert "no policy matches" in said
    assert "hold, ask again at" in said
    assert "no job was held" in said
    assert "carbon: 100 g/kWh on average, 66.7% less than at once" in said
    assert "cannot tell: nothing is known of carbon in zone 'DE'" in said
    # No collector runs: the store itself is asked.
    assert run("--deadline", "4h", "--zone", "IE", "--data", data, "--json") == 10
    assert json.loads(capsys.readouterr().out)["plan"]["mean"] == 100.0
    assert run("--deadline", "soon", "--zone", "IE", "--data", data) == 2
    # How old a forecast may be is for the settings to say, there as well.
    with answers.existing(data) as (_, client):
        steps = [Step(now, now + HOUR, 300.0), Step(now + HOUR, now + 9 * HOUR, 100.0)]
        told = Told("carbon", "FR", "g/kWh", "a test", now - 2 * 24 * HOUR, steps)
        store_grid.put_forecast(client, [told], now)
        client.close()
    settings = tmp_path / "collector.yaml"
    for most, code in ((3 * 24 * HOUR, 10), (24 * HOUR, 3), (0, 10)):
        settings.write_text(f"grid: {{forecast_max_age_seconds: {most}}}\n")
        offline = ["--zone", "FR", "--data", data, "--config", str(settings)]
        assert run("--deadline", "8h", *offline) == code
    assert run("--deadline", "8h", "--zone", "FR", "--data", data) == 3

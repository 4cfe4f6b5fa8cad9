"""The register, SCI, scorecards and replacing, asked of a collector over HTTP and by command."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from wattshed_collector import openapi, served
from wattshed_collector.cli import main
from wattshed_collector.config import Config, Lifecycle
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Running

H100 = "NVIDIA H100 80GB HBM3"
READ = {
    "/v1/devices": "",
    "/v1/devices/drift": "",
    "/v1/sci": "since=1h",
    "/v1/scorecard": "since=1d",
}


def status(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def answers(running: Running, path: str, query: str = "") -> Any:
    """Ask, and hold the answer against what the API says of itself."""
    (operation,) = (o for o in served.OPERATIONS if (o.method, o.path) == ("GET", path))
    answer = running.get(f"{path}?{query}")
    assert answer.status == 200, answer.body
    Draft202012Validator(dict(operation.answers[openapi.JSON])).validate(answer.json)
    return answer.json


def test_they_are_asked_over_http_and_by_command(
    collect: Callable[[Config], AbstractContextManager[Running]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = str(tmp_path / "data")
    lifecycle = Lifecycle(lifetime_years=4.0)
    with collect(Config(listen="127.0.0.1:0", data=data, lifecycle=lifecycle)) as running:
        now_ms = int(time.time() * 1000) - 60_000
        card, other = (
            Device(key, Kind.GPU, "n1", "nvml", model=H100, driver=driver)
            for key, driver in (("card", "570.1"), ("other", "560.1"))
        )
        ticks = tuple(Tick(d.key, now_ms, 1000, Method.INTEGRAL, 250.0) for d in (card, other))
        said = Batch(devices=(card, other), ticks=ticks)
        assert running.post(Encoder({}, "0").request(said)).status == 200
        first = answers(running, "/v1/devices", "device=card")["devices"][0]
        end = time.monotonic() + 60
        while not first["embodied_g_per_hour"] and time.monotonic() < end:
            time.sleep(0.05)
            first = answers(running, "/v1/devices", "device=card")["devices"][0]
        assert first["embodied_g_per_hour"] == pytest.approx(164_000 / (4 * 8766))
        assert (first["state"], first["embodied_method"]) == ("live", "table")
        for path, query in READ.items():
            answers(running, path, query)
        page = answers(running, "/v1/devices", "limit=1")
        assert ([d["device"] for d in page["devices"]], page["next"]) == (["card"], "card")
        for wrong in ("devices?state=odd", "devices?limit=0", "sci?by=colour", "replace?model=a",
                      f"devices?limit={'1' * 5000}", "replace?model=a&with=b",
                      "replace?model=a&with=b&ratio=-1", "devices?device=none"):  # fmt: skip
            assert running.get(f"/v1/{wrong}").status == 400, wrong
        assert running.send("/v1/devices", b'[{"device": "card"}]').status == 400
        assert running.send("/v1/devices", b"{").status == 400
        url = ["--url", running.url]
        table = tmp_path / "inventory.csv"
        table.write_text(f"device,model,commissioned,embodied_kg\ncard,,2024-03-01,\n,{H100},,90\n")
        assert status("devices", "import", str(table), *url) == 0
        assert status("devices", "tell", "--device", "card", "warranty_end=2030-01-01", *url) == 0
        assert status("devices", "tell", "--device", "card", "weight=3", *url) == 2
        assert status("devices", "tell", "--device", "none", "lifetime_years=3", *url) == 2
        told = answers(running, "/v1/devices", "device=card")["devices"][0]
        assert (told["embodied_kg"], told["embodied_method"]) == (90.0, "told_of_model")
        assert (told["commissioned"], told["warranty_end"]) == (1_709_251_200, 1_893_456_000)
        capsys.readouterr()
        for command in (("devices", "list"), ("devices", "show", "card"), ("devices", "drift"),
                        ("sci",), ("scorecard",)):  # fmt: skip
            assert status(*command, *url) == 0, command
        shown = capsys.readouterr().out
        assert f"{H100}: driver 560.1 (behind) on other; 1 of 2 run 570.1" in shown
        assert "commissioned         2024-03-01" in shown
        assert "no token_out was made" in shown
        assert "nothing was measured then, and no result was imported" in shown
        assert status("replace", "--model", "a", "--with", "b", *url) == 2
    # No collector runs: the store itself is asked and told.
    here = ["--data", data, "--json"]
    document = tmp_path / "inventory.json"
    document.write_text(json.dumps({"device": "other", "lifetime_years": 7, "embodied_kg": None}))
    capsys.readouterr()
    assert status("devices", "import", str(document), *here) == 0
    assert json.loads(capsys.readouterr().out) == {"accepted": 1}
    assert status("devices", "list", *here) == 0
    rows = {row["device"]: row for row in json.loads(capsys.readouterr().out)["devices"]}
    assert (rows["other"]["lifetime_years"], rows["other"]["embodied_kg"]) == (7.0, 90.0)
    for command in (("devices", "show", "card"), ("devices", "drift"), ("sci",), ("scorecard",)):
        assert status(*command, *here) == 0, command
    assert status("replace", "--model", "a", "--with", "b", *here) == 2

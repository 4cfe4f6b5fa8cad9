"""Power and use, asked of a running collector."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.config import Config
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Running


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
    collect: Callable[[Config], AbstractContextManager[Running]],
) -> Iterator[Running]:
    config = Config(listen="127.0.0.1:0", data=str(tmp_path_factory.mktemp("data")))
    with collect(config) as running:
        now_ms = int(time.time() * 1000) - 60_000
        tick = Tick("card", now_ms, 1000, Method.INTEGRAL, 250.0, utilization_ratio=0.5)
        said = Batch(devices=(Device("card", Kind.GPU, "n1", "nvml"),), ticks=(tick,))
        assert running.post(Encoder({}, "0").request(said)).status == 200
        yield running


def test_power_now(running: Running) -> None:
    answer = running.get("/v1/power?by=node").json
    assert abs(answer.pop("at") - time.time()) < 3600
    assert answer == {"by": "node", "rows": [{"name": "n1", "watts": 250.0, "devices": 1}]}


def test_power_of_one_device(running: Running) -> None:
    answer = running.get("/v1/power?device=card&since=10m&step=120").json
    assert answer["window"]["step"] == 120
    assert [row["watts"] for row in answer["rows"]] == [250.0]


def test_least_used(running: Running) -> None:
    (row,) = running.get("/v1/devices/least-used?since=1h&limit=5").json["rows"]
    assert (row["device"], row["utilization_ratio"]) == ("card", 0.5)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("/v1/power?by=colour", "choose one of workload, team"),
        ("/v1/power?by=team&since=1h&step=7", "whole minutes"),
        ("/v1/power?by=team&since=1h&step=x", "a whole number"),
        ("/v1/power?by=team&since=52w&step=60", "more than 11000 points"),
        ("/v1/devices/least-used?limit=0", "limit='0'"),
        (f"/v1/devices/least-used?limit={'1' * 5000}", "from 1 to 10000"),
        ("/v1/devices/least-used?limit=100000", "from 1 to 10000"),
    ],
)
def test_what_cannot_be_answered_says_why(running: Running, asked: str, says: str) -> None:
    answer = running.get(asked)
    assert answer.status == 400
    assert says in answer.json["error"]

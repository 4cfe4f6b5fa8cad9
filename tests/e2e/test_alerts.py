"""From a meter to who is woken: exporter, collector, Prometheus, Alertmanager, a receiver."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fixtures.alerting import Alerting, Receiver, alerting, why_not
from tests.fixtures.programs import collecting, exporting, newest, until
from tests.fixtures.stores import Stores
from tests.helm.chart import one, render

from wattshed_collector.store.migrate import Layout

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(why_not()), reason=why_not())]

AT_ONCE = [
    f"{name}.{key}={value}"
    for name in ("GPUIdleBurn", "ExporterDown")
    for key, value in (("for", "1s"), ("keep_firing_for", "0s"))
]
BURN, SILENCE = "wattshed_idle_burn_watts", "wattshed_node_silence_seconds"
LONG_S = 180.0
"""The collector looks at its store four times a minute, and not sooner."""
IDLE = ("count 2", "power 360000", "utilization 0", "utilization_memory 0", "gpm_2 0", "compute 12")
"""What the stand-in for the driver says; GPM metric 2 is the activity of multiprocessors."""


class Site:
    """A collector and an exporter with two GPUs of a bare power of 60 W."""

    def __init__(self, folder: Path, collector: str) -> None:
        self.collector = collector
        self.scenario = folder / "scenario"
        self.state = folder / "state"
        self.tell(*IDLE)
        now_ms = int(time.time() * 1000)
        means = [[now_ms - ago, 60.0] for ago in (3000, 2000, 1000)]
        learned = {f"GPU-fake-{n}": {"seen_ms": now_ms, "bare": means} for n in range(2)}
        self.state.mkdir()
        (self.state / "baselines.json").write_text(json.dumps({"version": 1, "devices": learned}))

    def tell(self, *lines: str) -> None:
        draft = self.scenario.with_suffix(".draft")
        draft.write_text("".join(f"{line}\n" for line in lines))
        draft.replace(self.scenario)

    def flags(self) -> list[str]:
        where = {"node": "n1", "cluster": "c1", "site": "oslo", "tier": "dc", "sources": "nvml"}
        how = {"otlp.endpoint": self.collector, "state-dir": str(self.state)}
        how |= {"interval-seconds": "0.5", "detail-seconds": "0.5"}
        return [f"--{name}={value}" for name, value in (where | how).items()]

    def post(self, path: str, document: Any) -> None:
        body, kind = json.dumps(document).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(self.collector + path, body, kind)
        with urllib.request.urlopen(request, timeout=120) as answer:
            assert answer.status == 200


@pytest.fixture(scope="module")
def site(
    fake_nvml: Path, stores: Stores, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    stores.prepare(folder / "data", Layout())
    with collecting(folder) as collector:
        made = Site(folder, collector)
        library = {"LD_LIBRARY_PATH": str(fake_nvml), "FAKE_NVML_SCENARIO": str(made.scenario)}
        with exporting(folder, *made.flags(), **library):
            until(lambda: newest(collector))
            yield made


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def stack(
    site: Site, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Alerting]:
    folder: Path = tmp_path_factory.mktemp("alerts")
    targets = [receiver.address, site.collector.removeprefix("http://")]
    with alerting(folder / "alerting", targets, _rules(), receiver) as made:
        yield made


def _rules() -> dict[str, Any]:
    """Return what the command gives for evaluations of a second, of waste what the chart does."""
    command = [sys.executable, "-m", "wattshed_collector.cli", "alerts", "compile"]
    command += ["--interval", "1s", *(word for each in AT_ONCE for word in ("--set", each))]
    said = subprocess.run(command, check=True, capture_output=True).stdout
    compiled = {group["name"]: group for group in yaml.safe_load(said)["groups"]}
    idle = {"GPUIdleBurn": {"for": "1s", "keepFiringFor": "0s"}}
    objects = render({"alerts": {"enabled": True, "interval": "1s", "rules": idle}})
    spec = one(objects, "PrometheusRule", "w-wattshed-alerts")["spec"]
    charted = {group["name"]: group for group in spec["groups"]}
    assert charted.keys() == compiled.keys()
    return {"groups": [*(compiled | {"wattshed-waste": charted["wattshed-waste"]}).values()]}


def test_the_watchdog_arrives(stack: Alerting, receiver: Receiver) -> None:
    until(lambda: receiver.told("deadman", "firing", alertname="Watchdog"))


def test_what_is_said_of_a_silent_node_is_muted(stack: Alerting, receiver: Receiver) -> None:
    def tell(**watts: float) -> None:
        receiver.page = "".join(
            [
                f'{SILENCE}{{cluster="c", node="dark"}} 1000\n',
                *(
                    f'{BURN}{{cluster="c", node="{node}", owner="eve"}} {value}\n'
                    for node, value in watts.items()
                ),
            ]
        )

    tell()
    until(lambda: receiver.told("page", "firing", alertname="ExporterDown", node="dark"))
    tell(dark=500, lit=500)
    until(lambda: receiver.told("owner", "firing", alertname="GPUIdleBurn", node="lit"))
    until(lambda: [a for a in stack.inhibited() if a["alertname"] == "GPUIdleBurn"])
    assert {alert["node"] for alert in stack.inhibited()} == {"dark"}
    assert not receiver.told("owner", "firing", node="dark")
    tell(lit=50)
    until(lambda: stack.query(f'max_over_time({BURN}{{node="lit"}}[3s]) == 50'))
    assert stack.query('ALERTS{alertname="GPUIdleBurn", alertstate="firing", node="lit"}')
    tell(lit=0)
    until(lambda: receiver.told("owner", "resolved", alertname="GPUIdleBurn", node="lit"))


def test_an_idle_gpu_pages_its_owner_until_it_works_or_is_expected(
    site: Site, stack: Alerting, receiver: Receiver
) -> None:
    now = time.time()
    price = {"kind": "price", "site": "oslo", "start": now - 600, "value": 0.5, "unit": "EUR/kWh"}
    site.post("/v1/factors", price)
    jobs = [
        {"key": "job-0", "name": "sleeper", "owner": "ann", "team": "blue"},
        {"key": "job-1", "name": "standby", "owner": "bob", "team": "red"},
    ]
    times = {"start": now - 600, "end": now + 3600}
    held = [{"device": f"GPU-fake-{n}", "workload": job, **times} for n, job in enumerate(jobs)]
    site.post("/v1/allocations", held)
    about = [{"alertname": "GPUIdleBurn", "workload_key": job["key"]} for job in jobs]
    until(lambda: all(receiver.told("owner", "firing", **labels) for labels in about), LONG_S)
    (told, *_) = receiver.told("owner", "firing", **about[0])
    place = {"site": "oslo", "cluster": "c1", "node": "n1", "tier": "dc"}
    mine = {"owner": "ann", "team": "blue", "workload": "sleeper", "severity": "warning"}
    assert (place | mine).items() <= told["labels"].items()
    assert told["annotations"]["description"] == (
        "sleeper of ann (team blue) holds GPUs on n1 that draw 300W above their bare idle and do "
        "no work: 1.08MJ an hour, 0.15 EUR."
    )
    assert [_evaluations(stack, job["key"]) for job in jobs] == [2, 2]

    site.tell(*IDLE, "power.0 690000", "utilization.0 95", "gpm_2.0 90")
    expected = {"workload": "standby", "until": now + 3600, "reason": "warm standby", "by": "bob"}
    site.post("/v1/expected-idle", expected)
    until(lambda: all(receiver.told("owner", "resolved", **labels) for labels in about), LONG_S)


def _evaluations(stack: Alerting, workload_key: str) -> int:
    """Return with how many evaluations in a row it was above its threshold that it fired first.

    A scrape that fails, where the machine is busy, begins them anew.
    """
    labels = f'alertname="GPUIdleBurn", workload_key="{workload_key}"'
    seen: dict[str, list[int]] = {
        series["metric"]["alertstate"]: [int(at) for at, _ in series["values"]]
        for series in stack.query(f"ALERTS{{{labels}}}[10m]")
    }
    first = min(seen["firing"])
    before = [at for at in seen["pending"] if at < first]
    row = 1
    while before[-1] - row in before:
        row += 1
    return row + 1

"""From a meter to who is woken: exporter, collector, Prometheus, Alertmanager, a receiver."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.fixtures.alerting import Alerting, Receiver, alerting, why_not
from tests.fixtures.programs import until

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(why_not()), reason=why_not())]

AT_ONCE = [
    f"{name}.{key}={value}"
    for name in ("GPUIdleBurn", "ExporterDown")
    for key, value in (("for", "1s"), ("keep_firing_for", "0s"))
]
BURN, SILENCE = "wattshed_idle_burn_watts", "wattshed_node_silence_seconds"


def rules() -> object:
    """Return what the command gives for evaluations of a second."""
    command = [sys.executable, "-m", "wattshed_collector.cli", "alerts", "compile"]
    command += ["--interval", "1s", *(word for each in AT_ONCE for word in ("--set", each))]
    return yaml.safe_load(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def stack(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    folder: Path = tmp_path_factory.mktemp("alerts")
    found = rules()
    assert isinstance(found, dict)
    with alerting(folder / "alerting", [receiver.address], found, receiver) as made:
        yield made


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

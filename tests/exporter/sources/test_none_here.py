"""A machine without a meter is told so at debug level, by every source, and it is no error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fixtures.faults import Kept, Time

from wattshed_exporter.config import Config, Dcgm, Ipmi, Roots
from wattshed_exporter.errors import NoData
from wattshed_exporter.sources import METERS, SOURCES, Source, create
from wattshed_exporter.sources.rpi import Mailbox, Rpi
from wattshed_exporter.telemetry import Telemetry
from wattshed_exporter.worker import Worker

ASKED = {
    "rpi": lambda config: Rpi(config, Mailbox([config.roots.sysfs / "vcio"])),
}
NEVER = {"replay": "without a recording it cannot be built", "simulate": "it is always there"}


@pytest.mark.parametrize("name", sorted(SOURCES.keys() - NEVER.keys()))
def test_nothing_here_is_no_error(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(
        node="n1",
        roots=Roots(sysfs=tmp_path, procfs=tmp_path),
        ipmi=Ipmi(device=tmp_path / "ipmi0"),
        dcgm=Dcgm(url=""),
    )
    build: Callable[[Config], Source] = ASKED.get(name, lambda config: create(name, config))
    source = build(config)
    try:
        source.discover()
    except NoData as nothing:
        said = str(nothing)
    else:
        pytest.skip(f"this machine has a meter for {name}")
    assert said
    telemetry = Telemetry()
    worker = Worker(source, config, [Kept()], telemetry, Time().clock)
    with caplog.at_level(logging.DEBUG, "wattshed_exporter"):
        worker.step()
    assert worker.absent
    assert worker.idle
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.DEBUG, f"source {name}: {said}")
    ]
    reason = {"source": name, "reason": "none_here"}
    assert telemetry.value("wattshed_source_errors_total", **reason) == 0


def test_what_auto_tries_is_tested_here() -> None:
    assert set(METERS) <= SOURCES.keys() - NEVER.keys()

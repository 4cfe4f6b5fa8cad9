"""The service file of the collector: systemd understands it, and its settings are ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.fixtures.units import misread, weak

from wattshed_collector.config import PREFIX, Config
from wattshed_exporter.settings import load

FOLDER = Path(__file__).parents[2] / "collector" / "systemd"
UNIT = FOLDER / "wattshed-collector.service"
VARIABLES = re.compile(r"^(?:Environment=)?(WATTSHED_\w+)=(.*)$", re.M)


def settings_of(file: Path, etc: Path) -> dict[str, str]:
    """Return the variables that a file sets, as they are where it is installed."""
    text = file.read_text().replace("%S", "/var/lib").replace("/etc/wattshed", str(etc))
    return dict(VARIABLES.findall(text))


def test_the_unit_and_its_environment_set_only_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "security.yaml").touch(mode=0o640)
    (tmp_path / "security.yaml").write_text("anonymous: [read]\n")
    told = settings_of(UNIT, tmp_path) | settings_of(FOLDER / "collector.env", tmp_path)
    assert len(told) == 3
    config = load(Config, [], told, prog="wattshed-collector", prefix=PREFIX)
    assert config.data == "/var/lib/wattshed-collector"
    assert config.listen.startswith("0.0.0.0:")


def test_a_user_of_its_own_owns_what_is_stored() -> None:
    (line,) = re.findall(r"^u .*", (FOLDER / "wattshed.sysusers.conf").read_text(), re.M)
    assert f"User={line.split()[1]}" in UNIT.read_text().splitlines()
    assert line.endswith("/var/lib/wattshed-collector")


@pytest.mark.e2e
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    assert misread(UNIT, tmp_path) == []


@pytest.mark.e2e
def test_it_exposes_little(tmp_path: Path) -> None:
    found = weak(UNIT, tmp_path)
    assert not found & {"UserOrDynamicUser", "NoNewPrivileges", "PrivateDevices"}
    assert not [name for name in found if name.startswith("CapabilityBoundingSet")]

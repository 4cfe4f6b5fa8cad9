"""The power_supply source over trees of files: a recorded laptop, and some built here."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.sysfs import (
    add_battery,
    add_supply,
    refusing,
    unpack,
    unprivileged,
)

from wattshed_exporter.config import Config, Roots
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Device, Kind, Method, Overlap, Reading
from wattshed_exporter.sources.power_supply import PowerSupply, create

NOW_MS = 1_700_000_000_123
KEY = "node1/power_supply/BAT0"


def power_supply(sysfs: Path) -> PowerSupply:
    config = Config(node="node1", site="here", interval_seconds=2.0, roots=Roots(sysfs=sysfs))
    return PowerSupply(config, clock=lambda: NOW_MS * 1_000_000 + 999_999)


def test_recorded_laptop(data: Path, tmp_path: Path) -> None:
    archive = data / "recordings/sysfs/node_exporter_fixtures/sys.ttar"
    unpack(archive, "sys/class/power_supply", tmp_path)
    source = power_supply(tmp_path / "sys")
    assert source.discover() == [
        Device(
            key=KEY,
            kind=Kind.BATTERY,
            node="node1",
            source="power_supply",
            name="BAT0",
            vendor="LGC",
            model="LNV-45N1\ufffd\ufffd",
            serial="38109",
            site="here",
            scope="discharge",
            method=Method.INTEGRAL,
            overlap=Overlap.OUTER,
        )
    ]
    assert source.read().readings == [Reading(KEY, NOW_MS, power_watts=5.002)]


@pytest.mark.parametrize(
    ("content", "watts"), [(5_002_000, 5.002), (-5_002_000, 5.002), ("unknown", None)]
)
def test_power_now_goes_first(tmp_path: Path, content: object, watts: float | None) -> None:
    add_battery(tmp_path, power_now=content, current_now=1_000_000, voltage_now=1_000_000)
    source = power_supply(tmp_path)
    source.discover()
    assert source.read().readings[0].power_watts == watts


@pytest.mark.parametrize("microamperes", [1_500_000, -1_500_000])
def test_current_times_voltage(tmp_path: Path, microamperes: int) -> None:
    files = {"current_now": microamperes, "voltage_now": 12_800_000, "energy_now": 1}
    (add_battery(tmp_path, "axp20x-battery", **files) / "power_now").unlink()
    source = power_supply(tmp_path)
    source.discover()
    assert source.read().readings[0].power_watts == pytest.approx(19.2)


@pytest.mark.parametrize(
    ("status", "gap"),
    [
        ("Charging", "not_discharging"),
        ("Not charging", "not_discharging"),
        ("Full", "not_discharging"),
        ("Unknown", "no_data"),
        ("", "malformed"),
        ("discharging", "malformed"),
    ],
)
def test_only_a_discharge_is_a_draw(tmp_path: Path, status: str, gap: str) -> None:
    folder = add_battery(tmp_path, status=status)
    source = power_supply(tmp_path)
    source.discover()
    assert source.read().readings == [Reading(KEY, NOW_MS, gap=gap)]
    (folder / "status").write_text("Discharging\n")
    assert source.read().readings == [Reading(KEY, NOW_MS, power_watts=5.002)]


@pytest.mark.parametrize(
    ("content", "gap"),
    [("0", "no_data"), ("", "malformed"), ("5 W", "malformed"), ("\xff", "malformed")],
)
def test_a_power_that_is_none(tmp_path: Path, content: str, gap: str) -> None:
    add_battery(tmp_path, "BAT1", power_now=content)
    add_battery(tmp_path, "BAT0")
    source = power_supply(tmp_path)
    source.discover()
    first, second = source.read().readings
    assert (first.power_watts, second.gap, second.power_watts) == (5.002, gap, None)


def test_a_value_that_the_driver_does_not_know(tmp_path: Path) -> None:
    add_battery(tmp_path)
    source = power_supply(tmp_path)
    source.discover()
    with refusing(errno.ENODEV, "power_now"):
        assert source.read().readings[0].gap == "no_data"


def test_what_is_no_battery_of_the_machine(tmp_path: Path) -> None:
    add_supply(tmp_path, "AC", type="Mains", online=1, power_now=60_000_000)
    add_supply(
        tmp_path, "ucsi-source-psy-1", type="USB", current_now=3_000_000, voltage_now=20_000_000
    )
    add_supply(tmp_path, "no_type", power_now=1)
    add_battery(tmp_path, "hidpp_battery_0", scope="Device")
    (add_battery(tmp_path, "solar", capacity=80) / "power_now").unlink()
    with pytest.raises(NoData, match="no battery that measures"):
        power_supply(tmp_path).discover()
    add_battery(tmp_path, "hid-ups", type="UPS", scope="System")
    assert [device.name for device in power_supply(tmp_path).discover()] == ["hid-ups"]


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(NoData):
        power_supply(tmp_path).discover()
    (tmp_path / "class").mkdir()
    (tmp_path / "class/power_supply").write_text("")
    with pytest.raises(SourceError) as caught:
        power_supply(tmp_path).discover()
    assert caught.value.reason == "io_error"


def test_one_battery_vanishes_and_comes_back(tmp_path: Path) -> None:
    add_battery(tmp_path, "BAT0")
    second = add_battery(tmp_path, "BAT1", power_now=7_000_000)
    source = power_supply(tmp_path)
    source.discover()
    second.rename(tmp_path / "away")
    assert [reading.gap for reading in source.read().readings] == ["", "vanished"]
    (tmp_path / "away").rename(second)
    assert source.read().readings[1].power_watts == 7.0


def test_all_batteries_vanish_and_come_back(tmp_path: Path) -> None:
    folder = add_battery(tmp_path)
    source = power_supply(tmp_path)
    source.discover()
    folder.rename(tmp_path / "away")
    with pytest.raises(DevicesChanged):
        source.read()
    with pytest.raises(NoData):
        source.discover()
    (tmp_path / "away").rename(folder)
    assert len(source.discover()) == 1


def test_no_permission(public: Path) -> None:
    denied = add_battery(public) / "power_now"
    denied.chmod(0)
    source = power_supply(public)
    with unprivileged(), pytest.raises(SourceError, match="run the exporter as root") as caught:
        source.discover()
    assert caught.value.reason == "permission"
    add_battery(public, "BAT1")
    with unprivileged():
        source.discover()
        assert [reading.gap for reading in source.read().readings] == ["permission", ""]
    denied.chmod(0o444)
    with unprivileged():
        assert [reading.gap for reading in source.read().readings] == ["", ""]


def test_no_permission_to_list(public: Path) -> None:
    add_battery(public)
    (public / "class/power_supply").chmod(0)
    with unprivileged(), pytest.raises(SourceError) as caught:
        power_supply(public).discover()
    assert caught.value.reason == "permission"


def test_create_opens_nothing() -> None:
    source = create(Config(node="node1", interval_seconds=2.0))
    assert (source.name, source.interval_seconds) == ("power_supply", 2.0)


CONTENTS = st.one_of(
    st.binary(max_size=30),
    st.integers(-(10**21), 10**21).map(lambda n: str(n).encode()),
    st.sampled_from([b"Battery\n", b"UPS\n", b"Discharging\n", b"Full\n", b"Device\n"]),
)
FILES = st.sampled_from(
    ["status", "scope", "power_now", "current_now", "voltage_now", "model_name", "serial_number"]
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(FILES, CONTENTS), st.booleans())
def test_any_content_gives_readings_or_gaps(files: Mapping[str, bytes], valid: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = add_battery(Path(folder))
        for file, content in files.items():
            if not (valid and file == "status"):
                (home / file).write_bytes(content)
        source = power_supply(Path(folder))
        try:
            (device,) = source.discover()
        except NoData:
            assert b"Device" in files["scope"]
            return
        (reading,) = source.read().readings
        assert (device.model + device.serial).encode().decode().isprintable()
        assert bool(reading.gap) != bool(reading.power_watts)
        assert reading.power_watts is None or 0 < reading.power_watts < 10**40

"""The bench of the ledger runs, its fleet is the documented one, and its frames are real ones."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import cramjam
import pytest
from bench.fleetgen import IDLE, Fleet
from bench.frames import frames

ROOT = Path(__file__).resolve().parents[2]


def test_the_fleet_is_the_documented_one() -> None:
    """The total of the main set, which another implementation of the same text published."""
    fleet = Fleet(nodes=125, hours=24, step=10, seed=7)
    total = sum(float(hour.gained_joules.sum()) for hour in fleet.each_hour())
    assert f"{total / 1e9:.5f}" == "33.57975"
    assert fleet.keys[3] == "GPU-00000003-5ccd-4c1e-9f00-0001daa66d13"


def fields(raw: bytes) -> list[tuple[int, int | bytes]]:
    """The fields of a protobuf message: varints, 8-byte values and nested bytes."""
    found: list[tuple[int, int | bytes]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = raw[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(raw):
        tag = varint()
        match tag & 7:
            case 0:
                found.append((tag >> 3, varint()))
            case 1:
                found.append((tag >> 3, raw[at : at + 8]))
                at += 8
            case 2:
                size = varint()
                found.append((tag >> 3, raw[at : at + size]))
                at += size
            case kind:
                raise ValueError(f"wire type {kind}")
    return found


def nested(raw: int | bytes) -> list[tuple[int, int | bytes]]:
    assert isinstance(raw, bytes)
    return fields(raw)


def test_a_frame_is_read_back_as_what_went_in() -> None:
    fleet = Fleet(nodes=2, gpus=2, hours=2, step=600, seed=3)
    hour = list(fleet.each_hour())[1]
    sent: dict[tuple[str, str], list[tuple[int, float]]] = {}
    idle = 0
    for frame in frames(fleet, hour, offset=5, samples=4):
        for _, series in fields(bytes(cramjam.snappy.decompress_raw(frame))):
            parts = nested(series)
            pairs = [[bytes(v).decode() for _, v in nested(p)] for n, p in parts if n == 1]
            assert pairs == sorted(pairs)
            labels = dict(pairs)
            idle += labels["workload"] == IDLE
            assert ("pod" in labels) == (labels["workload"] != IDLE)
            values = sent.setdefault((labels["__name__"], labels["uuid"]), [])
            for sample in (nested(p) for n, p in parts if n == 2):
                (value,), when = struct.unpack("<d", bytes(sample[0][1])), sample[1][1]
                assert isinstance(when, int)
                values.append((when, value))
    begin = (fleet.start + 3600 - 5) * 1000
    for gpu, key in enumerate(fleet.keys):
        expected = [
            (begin + (n + 1) * 600_000, float(hour.energy_joules[n, gpu])) for n in range(6)
        ]
        assert sent["gpu_energy_joules_total", key] == expected
        assert len(sent["gpu_power_watts", key]) == 6


@pytest.mark.e2e
def test_the_whole_bench_runs_on_a_tiny_fleet() -> None:
    command = [sys.executable, "-m", "bench.ledger", "--quick", "--json", "--no-peers"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    (ours,) = found["accuracy"]
    assert ours["who"] == "wattshed"
    assert abs(ours["total"]) < 0.1
    assert abs(found["ledger"]["charged_less_meter_ratio"]) < 1e-9
    assert len(found["timed"]) == 4
    assert all(row["warm_ms"] > 0 for rows in found["timed"].values() for row in rows)

"""Holders that are written down: what a file may say, and what becomes of one that is broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.allocations import Claim, Meters
from wattshed_exporter.allocations.options import Static as Settings
from wattshed_exporter.allocations.static import Static
from wattshed_exporter.allocations.static_file import load
from wattshed_exporter.errors import ConfigError, NoData, SourceError
from wattshed_exporter.model import Device, Instance, Kind

README = Path(__file__).parents[3] / "exporter/README.md"
DEVICES = {
    key: Device(key, kind, "n", "s", name=name)
    for key, kind, name in (
        ("GPU-5f3c0001", Kind.GPU, "gpu0"),
        ("GPU-5f3c0002", Kind.GPU, "gpu1"),
        ("n/rapl/package-0", Kind.CPU, "package-0"),
    )
}
INSTANCES = [Instance("GPU-5f3c0002", "1/0", "MIG-7", 0, 3)]
NOW_MS = 1_772_400_000_000  # 2026-03-01 21:20 UTC


def meters(now_ms: int = NOW_MS) -> Meters:
    return Meters(now_ms, DEVICES, INSTANCES)


def write(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def test_the_sample_of_the_manual_is_understood(tmp_path: Path) -> None:
    samples = re.findall(r"```yaml\n(- device.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert len(samples) == 1
    static = Static(write(tmp_path / "holders.yaml", samples[0]))
    told = static.read(meters())
    assert told.claims == [
        Claim("GPU-5f3c0001", "static:chat", 0.5, None, "static"),
        Claim("GPU-5f3c0001", "unit:train.service", None, None, "static"),
        Claim("GPU-5f3c0002", "unit:train.service", None, None, "static"),
    ]
    assert told.about["static:chat"]["team"] == "search"
    assert told.about["unit:train.service"] == {"project": "forecast"}
    assert [c.holder for c in static.read(meters(NOW_MS - 86_400_000)).claims] == ["static:chat"]


@pytest.mark.parametrize(
    ("entry", "keys"),
    [
        ("device: gpu1", ["GPU-5f3c0002"]),
        ("device: '*'", list(DEVICES)),
        ("device: n/rapl/*", ["n/rapl/package-0"]),
        ("device: 'GPU-5f3c000[1-9]'", ["GPU-5f3c0001", "GPU-5f3c0002"]),
        ("device: MIG-7", ["MIG-7"]),
        ("device: gpu7", []),
    ],
)
def test_devices_are_named_by_key_name_or_pattern(
    tmp_path: Path, entry: str, keys: list[str]
) -> None:
    file = write(tmp_path / "f", f"- {{{entry}, workload: {{name: a}}}}")
    told = Static(file).read(meters())
    assert [c.device for c in told.claims] == keys
    assert told.rejected == ({} if keys else {"unknown_device": 1})


@pytest.mark.parametrize(
    ("holder", "ref"),
    [
        ("unit: a.service", "unit:a.service"),
        ("slurm: 42", "slurm:42"),
        ("slurm: '42'", "slurm:42"),
        ("pod: ns/name", "pod:ns/name"),
        ("container: abc", "container:abc"),
    ],
)
def test_a_holder_may_be_one_that_others_know(tmp_path: Path, holder: str, ref: str) -> None:
    (entry,) = load(write(tmp_path / "f", f"- {{device: gpu0, {holder}}}"))
    assert (entry.holder, entry.share, entry.fields) == (ref, None, {})


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("device: gpu0", ["is not a list of entries"]),
        ("- gpu0", ["entry 1: is not a mapping"]),
        ("- {device: gpu0}", ["entry 1: workload.name: is missing"]),
        ("- {workload: {name: a}}", ["entry 1: device: is missing"]),
        ("- {device: 7, workload: {name: a}}", ["device: is not a text", "device: is missing"]),
        ("- {device: g, unit: a, pod: b}", ["pod and unit: only one"]),
        ("- {device: g, workload: [a]}", ["workload: is not a mapping", "name: is missing"]),
        ("- {device: g, workload: {name: 7}}", ["name: is not a printable", "name: is missing"]),
        ("- {device: g, workload: {name: a, key: b}}", ["workload.key: is no field"]),
        ("- {device: g, unit: a, share: 0}", ["share: is not a number above 0"]),
        ("- {device: g, unit: a, share: .nan}", ["share: is not a number above 0"]),
        ("- {device: g, unit: a, share: true}", ["share: is not a number above 0"]),
        ("- {device: g, unit: a, shares: 1}", ["'shares' is no key"]),
        ("- {device: g, unit: a, from: soon}", ["from: is not a time"]),
        ("- {device: g, unit: a, from: 2026-02-01, until: 2026-01-01}", ["until: is not after"]),
        ("- {device: g, slurm: true}", ["slurm: is not a text"]),
        ("- [", ["is not YAML, line"]),
        ("- !!python/object:os.system {}", ["is not YAML"]),
        (
            "- {device: g, workload: {name: a}}\n- {device: h, workload: {name: a, team: t}}",
            ["workload 'a' is described in two ways"],
        ),
        (
            "- {device: g, unit: a, share: 2, form: x}\n- {device: g, unit: ''}",
            ["entry 1: 'form'", "entry 1: share", "entry 2: unit: is not a text"],
        ),
    ],
)
def test_every_problem_of_a_file_is_said(tmp_path: Path, text: str, problems: list[str]) -> None:
    file = write(tmp_path / "f", text)
    with pytest.raises(ConfigError) as failed:
        load(file)
    said = failed.value.problems
    assert len(said) == len(problems)
    assert all(problem in s for s, problem in zip(said, problems, strict=True)), said
    assert list(Settings(file=file).problems()) == [f"file: {problem}" for problem in said]


def test_a_file_that_breaks_leaves_in_force_what_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "f", "- {device: gpu0, unit: a.service}")
    static = Static(file)
    good = static.read(meters()).claims
    assert [c.holder for c in good] == ["unit:a.service"]
    write(file, "- {device: 7, unit: a.service, share: 9}")
    for _ in range(2):
        told = static.read(meters())
        assert (told.claims, told.rejected) == (good, {"bad_file": 3})
    assert len(caplog.records) == 3
    file.unlink()
    assert (static.read(meters()).claims, static.read(meters()).rejected) == (good, {"bad_file": 1})
    write(file, "- {device: gpu1, unit: b.service}")
    told = static.read(meters())
    assert ([c.holder for c in told.claims], told.rejected) == (["unit:b.service"], {})
    write(file, "")
    assert static.read(meters()).claims == []


def test_a_file_that_was_never_good_is_an_error_until_it_is(tmp_path: Path) -> None:
    static = Static(tmp_path / "f")
    with pytest.raises(SourceError, match="cannot be read") as failed:
        static.read(meters())
    assert failed.value.reason == "config"
    write(tmp_path / "f", "- {device: gpu0, unit: a.service}")
    assert static.read(meters()).claims
    with pytest.raises(NoData):
        Static(None).read(meters())


def test_times_without_a_zone_are_utc_and_the_end_is_not_part_of_it(tmp_path: Path) -> None:
    text = "- {device: gpu0, unit: a, from: 2026-03-01, until: '2026-03-01T22:00:00+01:00'}"
    (entry,) = load(write(tmp_path / "f", text))
    assert (entry.from_ms, entry.until_ms) == (1_772_323_200_000, 1_772_398_800_000)
    assert [entry.holds_at(1_772_398_800_000 + n) for n in (-1, 0)] == [True, False]


marks = st.text("-{}[]:, \n'\"deviceunitshare0.5&*!|>%@#", max_size=80).map(str.encode)


@given(st.binary(max_size=120) | marks)
def test_no_file_ends_the_plug_in(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    file = tmp_path_factory.mktemp("static") / "f"
    file.write_bytes(text)
    try:
        entries = load(file)
    except ConfigError:
        entries = ()
    assert all(entry.device and entry.holder for entry in entries)

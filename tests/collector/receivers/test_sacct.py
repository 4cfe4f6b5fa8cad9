"""sacct's output as clusters print it, and every way to get it wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_collector.errors import InvalidInput
from wattshed_collector.receivers.sacct import (
    LONGEST,
    Job,
    Reader,
    count_gpus,
    parse_duration,
    parse_time,
)

GCM = "recordings/slurm/gcm_sacct_scontrol_sinfo"
HEADER = "JobIDRaw|JobName|User|Account|Partition|Cluster|AllocTRES|NodeList|Start|End"
ROW = (
    "7|train|ada|physics|gpu|alpha|cpu=4,gres/gpu=2|n[1-2]|2026-01-01T00:00:00|2026-01-01T01:00:00"
)
NAMES = st.sampled_from(["job_id", "time", "tres", "start", "allocated", "nodes"])
SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
BERLIN = ZoneInfo("Europe/Berlin")


def read(text: str | bytes) -> tuple[list[Job], dict[str, int]]:
    raw = text.encode() if isinstance(text, str) else text
    reader = Reader(io.BytesIO(raw), UTC)
    jobs = list(reader)
    return jobs, dict(reader.counted)


@pytest.fixture(scope="module")
def recorded(data: Path) -> Callable[[str], tuple[list[Job], dict[str, int]]]:
    return lambda name: read((data / GCM / f"sample-sacct-{name}.txt").read_bytes())


class TestRecordings:
    @pytest.mark.parametrize("name", ["one-multiline", "multiple-multiline", "fake-line-break"])
    def test_line_ends_within_fields(
        self, recorded: Callable[[str], tuple[list[Job], dict[str, int]]], name: str
    ) -> None:
        jobs, counted = recorded(name)
        assert counted == {"step": 2}
        # The owners of the recording say what the lines should have been.
        expected, _ = recorded(f"{name}-expected")
        assert jobs == expected
        assert jobs[0].id == "201729"
        assert (jobs[0].name, jobs[0].user, jobs[0].account) == ("test_run", "test_user", "project")
        assert (len(jobs[0].nodes), jobs[0].gpus) == (128, 1024)
        assert jobs[0].end_ms is not None
        assert jobs[0].end_ms - jobs[0].start_ms == 79_396_000

    def test_bytes_that_are_not_utf8(
        self, recorded: Callable[[str], tuple[list[Job], dict[str, int]]]
    ) -> None:
        jobs, counted = recorded("output-invalid-utf8")
        assert counted == {"step": 9}
        assert [(job.id, job.gpus, job.nodes) for job in jobs] == [
            ("3557891", 8, jobs[0].nodes),
            ("3557892", 1, jobs[1].nodes),
        ]
        assert len(jobs[0].nodes) == len(jobs[1].nodes) == 1

    def test_steps_repeat_their_job(
        self, recorded: Callable[[str], tuple[list[Job], dict[str, int]]]
    ) -> None:
        for name in ("output", "running-output"):
            jobs, counted = recorded(name)
            assert not jobs
            assert set(counted) == {"step"}

    def test_steps_that_end_after_their_job_and_tasks_without_a_raw_id(
        self, recorded: Callable[[str], tuple[list[Job], dict[str, int]]]
    ) -> None:
        jobs, counted = recorded("output-midnight-edge-case")
        assert counted == {"step": 880, "no_raw_id": 268}
        assert len(jobs) == 38
        ended = datetime(2021, 4, 7, 23, 59, 38, tzinfo=UTC)
        assert jobs[0].end_ms == ended.timestamp() * 1000

    def test_a_line_without_its_beginning(
        self, recorded: Callable[[str], tuple[list[Job], dict[str, int]]]
    ) -> None:
        assert recorded("output-with-invalid-lines") == ([], {"malformed": 1})

    def test_output_without_a_header(self, data: Path) -> None:
        file = data / "recordings/slurm/sacct_datadog/sacct.txt"
        with pytest.raises(InvalidInput, match="--noheader"):
            read(file.read_bytes())


class TestText:
    def test_a_job(self) -> None:
        assert read(f"{HEADER}\n{ROW}\n") == (
            [
                Job("7", "train", "ada", "physics", "gpu", "alpha", ("n1", "n2"),
                    1_767_225_600_000, 1_767_229_200_000, 2)
            ],
            {},
        )  # fmt: skip

    @pytest.mark.parametrize("delimiter", ["|", "|#", ",", "\t", ";;"])
    @pytest.mark.parametrize("end", ["", "<d>"])
    def test_any_delimiter_in_any_order(self, delimiter: str, end: str) -> None:
        names = ["End", "NodeList", "JobIDRaw", "Start"]
        values = ["2026-01-01T01:00:00", "n1", "7", "2026-01-01T00:00:00"]
        text = "\r\n".join(delimiter.join(row) + end for row in (names, values))
        jobs, counted = read(text.replace("<d>", delimiter))
        assert [(job.id, job.nodes, job.gpus) for job in jobs] == [("7", ("n1",), None)]
        assert not counted

    def test_still_running(self) -> None:
        jobs, _ = read(f"{HEADER}\n{ROW.replace('2026-01-01T01:00:00', 'Unknown')}\n")
        assert jobs[0].end_ms is None

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("7|train", "|train", "bad_job_id"),
            ("7|train", "x|train", "bad_job_id"),
            ("7|train", "7_3|train", "no_raw_id"),
            ("7|train", "7+1|train", "no_raw_id"),
            ("7|train", "7.batch|train", "step"),
            ("2026-01-01T00:00:00", "Unknown", "not_started"),
            ("2026-01-01T00:00:00", "yesterday", "bad_time"),
            ("2026-01-01T00:00:00", "2026-01-01T02:00:00", "end_before_start"),
            ("2026-01-01T00:00:00", "9999999999", "bad_time"),
            ("n[1-2]", "n[2-1]", "bad_node_list"),
            ("n[1-2]", "n1|n2", "malformed"),
        ],
    )
    def test_a_bad_row_leaves_its_neighbours(self, old: str, new: str, reason: str) -> None:
        jobs, counted = read("\n".join([HEADER, ROW, ROW.replace(old, new, 1), ROW]) + "\n")
        assert [job.id for job in jobs] == ["7", "7"]
        assert counted == {reason: 1}

    def test_a_row_that_is_cut_off_does_not_take_the_next_with_it(self) -> None:
        jobs, counted = read("\n".join([HEADER, ROW[:20], ROW, ROW[:30]]) + "\n")
        assert ([job.id for job in jobs], counted) == (["7"], {"malformed": 2})

    def test_a_row_without_end(self) -> None:
        jobs, counted = read(f"{HEADER}\n{'x' * (LONGEST + 9)}\n{ROW}\n")
        assert ([job.id for job in jobs], counted) == (["7"], {"malformed": 1})

    def test_older_versions_say_gpus_per_node(self) -> None:
        header = HEADER.replace("AllocTRES", "AllocGRES")
        jobs, _ = read(f"{header}\n{ROW.replace('cpu=4,gres/gpu=2', 'gpu:a100:4')}\n")
        assert jobs[0].gpus == 8

    def test_completed_jobs_from_a_file_name_the_number_of_the_user(self) -> None:
        jobs, _ = read(f"{HEADER}\n{ROW.replace('ada', 'ada(1000)')}\n")
        assert jobs[0].user == "ada"

    @pytest.mark.parametrize("text", ["", "\n\n", "JobID|State\n", "hello\n", "<html>\n", "\0"])
    def test_what_is_no_output_of_sacct(self, text: str) -> None:
        with pytest.raises(InvalidInput):
            read(text)

    @given(st.binary(max_size=300))
    def test_any_bytes_after_the_header(self, raw: bytes) -> None:
        jobs, _ = read(f"{HEADER}\n{ROW}\n".encode() + raw)
        assert jobs[0].id == "7"


class TestJson:
    JOB: dict[str, Any] = {  # noqa: RUF012
        "job_id": 7,
        "name": "train ü",
        "user": "ada",
        "account": "physics",
        "partition": "gpu",
        "cluster": "alpha",
        "nodes": "n[1-2]",
        "time": {"start": 1_767_225_600, "end": 1_767_229_200, "elapsed": 3600},
        "tres": {"allocated": [{"type": "cpu", "name": "", "id": 1, "count": 4},
                               {"type": "gres", "name": "gpu", "id": 1001, "count": 2}]},
        "steps": [{"step": {"id": "7.batch"}}],
    }  # fmt: skip

    @pytest.mark.parametrize("indent", [None, 2])
    def test_jobs(self, indent: int | None) -> None:
        many = [{**self.JOB, "job_id": number, "pad": "é" * 1000} for number in range(1, 200)]
        document = {"meta": {"plugin": {}}, "jobs": many, "errors": []}
        jobs, counted = read(json.dumps(document, indent=indent, ensure_ascii=False))
        assert [job.id for job in jobs] == [str(number) for number in range(1, 200)]
        assert (jobs[0].name, jobs[0].gpus, jobs[0].nodes) == ("train ü", 2, ("n1", "n2"))
        assert (jobs[0].start_ms, jobs[0].end_ms) == (1_767_225_600_000, 1_767_229_200_000)
        assert not counted

    def test_newer_versions_wrap_numbers(self) -> None:
        time = {"start": {"set": True, "infinite": False, "number": 1_767_225_600},
                "end": {"set": False, "infinite": False, "number": 5}}  # fmt: skip
        jobs, _ = read(json.dumps({"jobs": [{**self.JOB, "time": time}]}))
        assert (jobs[0].start_ms, jobs[0].end_ms) == (1_767_225_600_000, None)

    def test_one_that_waits_still(self) -> None:
        waiting = {**self.JOB, "nodes": "None assigned", "time": {"start": 0, "end": 0}}
        assert read(json.dumps({"jobs": [waiting]})) == ([], {"not_started": 1})

    def test_none(self) -> None:
        assert read('{"jobs": []}') == ([], {})

    @pytest.mark.parametrize(
        "text", ["{", '{"jobs": [{"a": ', '{"jobs": [1]}', '{"x": 1}', "{" * 9000]
    )
    def test_what_is_cut_off_or_something_else(self, text: str) -> None:
        with pytest.raises(InvalidInput, match="JSON"):
            read(text)

    def test_good_jobs_before_the_cut_are_kept(self) -> None:
        reader = Reader(io.BytesIO(json.dumps({"jobs": [self.JOB] * 3}).encode()[:-300]), UTC)
        jobs = iter(reader)
        assert next(jobs).id == "7"
        with pytest.raises(InvalidInput):
            list(jobs)

    @given(SHAPES)
    @settings(max_examples=60)
    def test_a_job_of_any_shape_is_read_or_counted(self, shape: object) -> None:
        broken = shape if isinstance(shape, dict) else {"job_id": 3, "time": shape}
        jobs, counted = read(json.dumps({"jobs": [broken, self.JOB]}))
        assert jobs[-1].id == "7"
        assert len(jobs) + sum(counted.values()) == 2


class TestValues:
    @given(st.integers(0, 99_999_999))
    def test_durations(self, seconds: int) -> None:
        days, rest = divmod(seconds, 86400)
        text = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
        assert parse_duration(f"{days}-{text}" if days else text) == seconds
        assert parse_duration(str(seconds)) == seconds

    @pytest.mark.parametrize(("text", "seconds"), [("00:23.779", 23), ("1566-14:49:13", 135355753)])
    def test_recorded_durations(self, text: str, seconds: int) -> None:
        assert parse_duration(text) == seconds

    @pytest.mark.parametrize("text", ["", "x", "1:2:3:4", "-1", "9" * 20])
    def test_what_is_no_duration(self, text: str) -> None:
        assert parse_duration(text) is None

    @given(st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)), st.timezones())
    def test_times_of_any_zone(self, when: datetime, zone: ZoneInfo) -> None:
        when = when.replace(microsecond=0)
        found = parse_time(when.isoformat(), zone)
        assert found == int(when.replace(tzinfo=zone).timestamp())
        assert parse_time(f"{when.isoformat()}+02:00", zone) == int(
            (when - timedelta(hours=2)).replace(tzinfo=UTC).timestamp()
        )
        assert parse_time(str(found), zone) == found

    @pytest.mark.parametrize(("elapsed", "ends_utc"), [(1800, "00:45"), (5400, "01:45")])
    def test_an_hour_that_the_clock_shows_twice(self, elapsed: int, ends_utc: str) -> None:
        row = f"7|2026-10-25T02:15:00|2026-10-25T02:45:00|{elapsed}\n"
        text = f"JobIDRaw|Start|End|ElapsedRaw\n{row}"
        (job,) = Reader(io.BytesIO(text.encode()), BERLIN)
        assert job.end_ms is not None
        assert job.end_ms - job.start_ms == elapsed * 1000
        assert datetime.fromtimestamp(job.end_ms / 1000, UTC).strftime("%H:%M") == ends_utc

    @pytest.mark.parametrize(
        ("tres", "gpus"),
        [
            ("", None),
            ("billing=1,cpu=1,mem=500M,node=1", None),
            ("cpu=2048,gres/gpu=256,node=32", 256),
            ("cpu=1,gres/gpu:a100=2,gres/gpu=2", 2),
            ("gres/gpu:a100=2,gres/gpu:h100=1", 3),
            ("gres/gpu=0", 0),
            ("gres/gpumem=80G,gres/gpuutil=5", None),
        ],
    )
    def test_gpus(self, tres: str, gpus: int | None) -> None:
        assert count_gpus(tres) == gpus

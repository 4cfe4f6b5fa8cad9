"""The collector's settings: where they come from, and every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattshed_collector.config import (
    PREFIX,
    Config,
    Ingest,
    Ledger,
    Retention,
    Scrape,
    named_target,
)
from wattshed_collector.config.charging import MOST_DAYS
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import load, options


def told(*flags: str, **environment: str) -> Config:
    return load(Config, flags, environment, prog="wattshed-collector", prefix=PREFIX)


def problems(*flags: str, **environment: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        told(*flags, **environment)
    return caught.value.problems


def test_the_defaults_are_valid() -> None:
    assert told() == Config()
    assert Config().problems() == []


def test_file_then_environment_then_flags(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "data: from-file\nlisten: 127.0.0.1:1\nretention: {raw_days: 5}\n"
        "scrape: {targets: [http://a/metrics, http://b/metrics]}\n"
    )
    config = told(
        "--config",
        str(file),
        "--listen",
        "127.0.0.1:3",
        WATTSHED_COLLECTOR_LISTEN="127.0.0.1:2",
        WATTSHED_COLLECTOR_DATA="from-environment",
    )
    assert (config.listen, config.data) == ("127.0.0.1:3", "from-environment")
    assert config.retention.raw_days == 5
    assert config.scrape.targets == ("http://a/metrics", "http://b/metrics")


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("http://a/metrics", ("", "http://a/metrics")),
        ("gpu7=http://a/metrics", ("gpu7", "http://a/metrics")),
        ("http://a/metrics?x=1", ("", "http://a/metrics?x=1")),
        ("gpu7=https://a/metrics?x=1", ("gpu7", "https://a/metrics?x=1")),
    ],
)
def test_a_target_may_name_its_machine(target: str, named: tuple[str, str]) -> None:
    assert named_target(target) == named
    assert told(f"--scrape.targets={target}").scrape.targets == (target,)


def test_every_problem_at_once(tmp_path: Path) -> None:
    found = problems(
        "--listen=here",
        "--scrape.targets=node1:9741,http://ok/metrics",
        "--ledger.interval-seconds=0",
        "--ledger.idle-below-ratio=1.5",
        "--retention.raw-days=1",
        "--ingest.queue-rows=many",
        "--nonsense=1",
        WATTSHED_COLLECTOR_DATE="x",
    )
    text = "\n".join(found)
    for said in (
        "'here' is not host:port",
        "'node1:9741' is not an http or https URL",
        "must be above 0",
        "must be between 0 and 1",
        "must be 0 or at least 2",
        "'many' is not a number",
        "unknown flag --nonsense",
        "WATTSHED_COLLECTOR_DATE; did you mean WATTSHED_COLLECTOR_DATA?",
    ):
        assert said in text, said
    assert len(found) == 8


@pytest.mark.parametrize(
    ("listen", "valid"),
    [
        ("127.0.0.1:0", True),
        ("[::1]:9740", True),
        ("localhost:65535", True),
        (":9740", False),
        ("127.0.0.1", False),
        ("127.0.0.1:65536", False),
        ("127.0.0.1:http", False),
        ("", False),
    ],
)
def test_listen(listen: str, valid: bool) -> None:
    assert (Config(listen=listen).problems() == []) is valid


@pytest.mark.parametrize(
    ("raw", "minute", "valid"),
    [(30, 180, True), (30, 30, True), (30, 0, True), (0, 0, True), (365, 180, False),
     (0, 180, False)],
)  # fmt: skip
def test_charges_outlive_their_ticks(raw: int, minute: int, valid: bool) -> None:
    found = Retention(raw_days=raw, minute_days=minute).problems()
    assert (found == []) is valid
    assert valid or found[0].startswith("minute_days: must be 0 or at least")


def test_rows_do_not_expire_at_once_because_they_are_kept_too_long() -> None:
    assert Retention(raw_days=MOST_DAYS, minute_days=MOST_DAYS).problems() == []
    far = Retention(raw_days=MOST_DAYS + 1, minute_days=MOST_DAYS + 1).problems()
    assert [problem.partition(": must be at most")[0] for problem in far] == [
        "raw_days",
        "minute_days",
    ]
    in_2050 = 2_524_608_000
    assert in_2050 + MOST_DAYS * 86_400 < 2**32


def test_what_must_not_be_negative() -> None:
    below = Ingest(future_seconds=-1, group_seconds=-0.1, group_longest_seconds=-1)
    assert below.problems() == [
        "future_seconds: must not be below 0",
        "group_seconds: must not be below 0",
        "group_longest_seconds: must not be below 0",
    ]
    assert Ingest(future_seconds=0, group_seconds=0, group_longest_seconds=0).problems() == []


@pytest.mark.parametrize(
    "section",
    [
        Ingest(max_body_bytes=0),
        Ingest(queue_rows=-1),
        Scrape(interval_seconds=0),
        Scrape(timeout_seconds=-1),
        Ledger(interval_seconds=0),
    ],
)
def test_what_must_be_positive(section: Ingest | Scrape | Ledger) -> None:
    assert [p.partition(": ")[2] for p in section.problems()] == ["must be above 0"]


FILE_ONLY = ("scrape.jobs", "outcomes.rules", "grid.providers", "grid.policies")


def test_every_option_has_a_flag_a_variable_and_a_meaning() -> None:
    for option in options(Config):
        if option.file_only:  # lists of sections
            assert option.key in FILE_ONLY
            continue
        assert option.flag.startswith("--")
        assert option.variable(PREFIX).startswith("WATTSHED_COLLECTOR_")
        assert option.help.endswith(".")


def test_a_site_lies_in_a_zone_by_a_flag() -> None:
    assert told("--grid.zones", "dub=IE, =DE").grid.zones == {"dub": "IE", "": "DE"}
    (said,) = problems(WATTSHED_COLLECTOR_GRID_ZONES="IE")
    assert said.endswith("is not NAME=TEXT, or several of them with commas between")

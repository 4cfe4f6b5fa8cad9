"""The exporter's settings: what is accepted, what is refused, and that every option is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from wattshed.place import told_access
from wattshed_exporter.__main__ import OTHER_PROGRAMS, SIBLINGS
from wattshed_exporter.config import Config, parse_listen
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import Option, documentation, load, options
from wattshed_exporter.sources import SOURCES
from wattshed_exporter.web.file import read

ROOT = Path(__file__).resolve().parents[2]


def config(*argv: str, **environ: str) -> Config:
    return load(Config, argv, environ, prog="wattshed-exporter")


def test_the_defaults_are_sound() -> None:
    assert config().sources == ("auto",)
    assert config().web.listen_address == "127.0.0.1:9741"


def test_problems_of_the_web_configuration_file_are_told_with_the_others(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("basic_auth_users: {alice: hunter2}\nrate_limit: {burst: x}\n")
    with pytest.raises(ConfigError) as caught:
        config("--sources=magic", "--web.max-requests=-1", WATTSHED_WEB_CONFIG_FILE=str(file))
    problems = caught.value.problems
    assert len(problems) == 4
    assert sum(p.startswith(f"WATTSHED_WEB_CONFIG_FILE: {file}: ") for p in problems) == 2
    assert "--web.max-requests: -1 is below 0" in problems
    assert not any("hunter2" in p for p in problems)


def test_a_problem_is_one_line_whatever_it_repeats() -> None:
    with pytest.raises(ConfigError) as caught:
        config(WATTSHED_WEB_CONFIG_FILE="\n")
    (problem,) = caught.value.problems
    assert problem.endswith(": \\n: cannot be read: No such file or directory")


def test_environment_and_flags_reach_every_section() -> None:
    got = config("--node", "n1", WATTSHED_OTLP_ENDPOINT="https://c.example:4318/otlp")
    assert (got.node, got.otlp.endpoint) == ("n1", "https://c.example:4318/otlp")


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        ("--interval-seconds=0", "--interval-seconds: 0 is not above 0"),
        ("--deadline-seconds=-1", "--deadline-seconds: -1 is not above 0"),
        ("--node=", "--node: is empty"),
        ("--sources=,", "--sources: names no source"),
        (
            "--sources=rapl,nvlm",
            f"--sources: unknown source 'nvlm'; there are auto, {', '.join(SOURCES)}",
        ),
        (
            "--sources=auto,dcgm",
            "--sources: dcgm and nvml read the same GPUs; name rapl, hwmon, ... instead of auto",
        ),
        ("--sources=redfish", "redfish.url: is needed by the source redfish"),
        ("--sources=smartplug", "smartplug.urls: is needed by the source smartplug"),
        ("--redfish.url=bmc1", "--redfish.url: 'bmc1' is not an http or https URL"),
        ("--sources=replay", "replay.file: is needed by the source replay"),
        ("--replay.speed=-1", "--replay.speed: -1 is below 0"),
        ("--simulate.history-hours=-1", "--simulate.history-hours: -1 is below 0"),
        ("--log-level=loud", "--log-level: 'loud' is none of debug, info, warning, error"),
        ("--estimate.idle-watts=-1", "--estimate.idle-watts: -1 is below 0"),
        (
            "--web.listen-address=localhost",
            "--web.listen-address: 'localhost' is not an address and a port such as 127.0.0.1:9741",
        ),
        (
            "--otlp.endpoint=collector:9740",
            "--otlp.endpoint: 'collector:9740' is not a URL such as http://127.0.0.1:9740",
        ),
        (
            "--otlp.endpoint=http://c:99999",
            "--otlp.endpoint: 'http://c:99999' is not a URL such as http://127.0.0.1:9740",
        ),
        (
            "--otlp.endpoint=http://c..example",
            "--otlp.endpoint: 'http://c..example' is not a URL such as http://127.0.0.1:9740",
        ),
        (
            "--otlp.timeout-seconds=1e10",
            "--otlp.timeout-seconds: 1e+10 is above 3.1536e+07, a year",
        ),
        (
            "--otlp.endpoint=http://c/a b",
            "--otlp.endpoint: 'http://c/a b' is not a URL such as http://127.0.0.1:9740",
        ),
        (
            "--otlp.endpoint=http://c/?key=1",
            "--otlp.endpoint: 'http://c/?key=1' is not a URL such as http://127.0.0.1:9740",
        ),
        (
            "--otlp.endpoint=http://me:secret@c",
            "--otlp.endpoint: may not hold a user and a password; there is otlp.token",
        ),
        (
            "--otlp.token=secret\n",
            "--otlp.token: holds a character that no header can carry, such as a line break",
        ),
        (
            "--otlp.token=sécret",
            "--otlp.token: holds a character that no header can carry, such as a line break",
        ),
        ("--otlp.spool-bytes=1048575", "--otlp.spool-bytes: 1048575 is below 1048576"),
        ("--otlp.memory-bytes=0", "--otlp.memory-bytes: 0 is below 1048576"),
        ("--otlp.drain-per-second=0", "--otlp.drain-per-second: 0 is below 0.001"),
        ("--otlp.key-file=/key.pem", "--otlp.key-file: needs otlp.cert_file beside it"),
        ("--release-seconds=0", "--release-seconds: 0 is not above 0"),
        ("--idle.activity-below=0", "--idle.activity-below: 0 is not above 0"),
        ("--idle.activity-below=5", "--idle.activity-below: 5 is above 1"),
        (
            "--idle.power-above-baseline=-0.1",
            "--idle.power-above-baseline: -0.1 is not above 0",
        ),
        ("--otlp.batch-seconds=-1", "--otlp.batch-seconds: -1 is below 0"),
        (
            "--allocations.kubernetes.api=kubernetes.default:443",
            "--allocations.kubernetes.api: 'kubernetes.default:443' is not an http or https URL",
        ),
        (
            "--allocations.window-seconds=0",
            "--allocations.window-seconds: 0 is not above 0",
        ),
        (
            "--web.listen-address=",
            "nothing to do: web.listen_address and otlp.endpoint are empty and stdout is off",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(argv: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(argv)
    assert caught.value.problems == (problem,)


DURATIONS = [o for o in options(Config) if o.key.endswith(("_seconds", "_hours"))]


@pytest.mark.parametrize("option", DURATIONS, ids=lambda option: option.key)
def test_no_duration_is_longer_than_a_year(option: Option) -> None:
    for beyond in ("1e10", "1e300"):
        with pytest.raises(ConfigError) as caught:
            config(f"{option.flag}={beyond}")
        (problem,) = caught.value.problems
        assert problem.startswith(f"{option.flag}: ")
        assert problem.endswith(", a year")
    year = "8760" if option.key.endswith("_hours") else "31536000"
    assert config(f"{option.flag}={year}")


def test_certificates_are_of_no_use_without_tls() -> None:
    with pytest.raises(ConfigError) as caught:
        config("--otlp.endpoint=http://c", "--otlp.ca-file=/ca.pem")
    assert caught.value.problems == (
        "--otlp.ca-file: is of no use, because otlp.endpoint does not begin with https",
    )


def test_the_power_model_must_rise() -> None:
    with pytest.raises(ConfigError) as caught:
        config("--estimate.idle-watts=50", "--estimate.max-watts=40")
    assert caught.value.problems == ("--estimate.max-watts: 40 is below idle_watts, 50",)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("127.0.0.1:9741", ("127.0.0.1", 9741)),
        (":0", ("", 0)),
        ("[::1]:80", ("::1", 80)),
        ("host.example:65535", ("host.example", 65535)),
    ],
)
def test_listen_addresses(text: str, parts: tuple[str, int]) -> None:
    assert parse_listen(text) == parts


@pytest.mark.parametrize("text", ["::1:80", "a:b", "a:-1", "a:65536", "9741", ":²", "ä..b:80"])
def test_listen_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an address|needs brackets"):
        parse_listen(text)


def test_the_examples_of_the_readme_are_accepted(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "exporter" / "README.md").read_text(encoding="utf-8")
    samples = [part.partition("```")[0] for part in readme.split("```yaml\n")[1:]]
    (web,) = (sample for sample in samples if "tls_server_config:" in sample)
    (settings,) = (sample for sample in samples if sample.startswith("site:"))
    file = tmp_path / "exporter.yaml"
    file.write_text(settings)
    assert config("--config", str(file)).sources == ("nvml", "rapl")
    file.write_text(web)
    told = read(file)
    assert (list(told.users), told.burst, told.tls is not None) == (["prometheus"], 20, True)


def test_every_option_has_a_meaning_and_the_manual_is_the_same_on_every_machine() -> None:
    assert all(o.help.endswith(".") for o in options(Config))
    assert "`the host's name`" in documentation(Config)


def test_what_other_programs_of_a_node_are_told_is_no_mistake() -> None:
    """The client reads its address and workload, the command its token, Slurm's prolog its map."""
    told = dict.fromkeys(SIBLINGS - {"WATTSHED_CLUSTER"}, "x")
    told |= {"WATTSHED_COLLECTOR_DATA": "x", "WATTSHED_TEST_CACHE": "x"}
    how: dict[str, Any] = {"other_prefixes": OTHER_PROGRAMS, "others": SIBLINGS}
    assert load(Config, [], told, prog="p", **how) == Config()
    misspelt = ("WATTSHED_OUTCOMES_SOKET", "WATTSHED_OUTCOMES_URLS", "WATTSHED_WORKLOADS")
    for name in misspelt:
        with pytest.raises(ConfigError, match=f"unknown environment variable {name}"):
            load(Config, [], {name: "x"}, prog="p", **how)


def test_each_of_them_is_read_by_a_program() -> None:
    access = told_access({name: name for name in SIBLINGS})
    read = {access.token, access.user, access.password, access.ca_file}
    for folder in ("exporter/wattshed", "exporter/slurm", "collector/wattshed_collector/cli"):
        for file in (ROOT / folder).rglob("*.*"):
            if file.suffix in (".py", ".sh"):
                read |= set(re.findall("WATTSHED_[A-Z_]+", file.read_text(encoding="utf-8")))
    tests = set(re.findall("WATTSHED_[A-Z_]+", (ROOT / "tests/fixtures/published.py").read_text()))
    assert read | tests >= SIBLINGS

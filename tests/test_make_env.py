"""``make env``: it writes what is missing, keeps what is there, and shows no secret."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import stat
from pathlib import Path
from types import ModuleType

import pytest

from wattshed_collector.security import rules
from wattshed_exporter.config import Config
from wattshed_exporter.settings import load


def script() -> ModuleType:
    path = Path(__file__).parents[1] / "scripts/make_env.py"
    spec = importlib.util.spec_from_file_location("make_env", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE_ENV = script()


def made(root: Path, *arguments: str) -> dict[str, str]:
    """Run it on a machine without meters, and return the settings of .env."""
    host = root / "host"
    host.mkdir(exist_ok=True)
    flags = ["--root", str(root), "--node", "n1", "--host", str(host)]
    assert MAKE_ENV.main([*flags, *arguments]) == 0
    lines = (root / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")


def test_nobody_else_can_read_what_it_writes(tmp_path: Path) -> None:
    made(tmp_path)
    folder = tmp_path / "compose/secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert {stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()} == {0o640}


def test_it_keeps_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path)
    folder = tmp_path / "compose/secrets"
    before = {file.name: file.read_text() for file in (*folder.iterdir(), tmp_path / ".env")}
    (folder / "reader.token").unlink()
    capsys.readouterr()
    made(tmp_path, "--embedded", "--webhook", "http://else.example/")
    after = {file.name: file.read_text() for file in (*folder.iterdir(), tmp_path / ".env")}
    assert {name for name in before if before[name] != after[name]} == {"reader.token"}
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("wrote")] == [
        "wrote  compose/secrets/reader.token"
    ]
    assert not [text for text in after.values() if text.strip() and text in said]


def test_every_secret_differs_and_none_is_in_the_environment(tmp_path: Path) -> None:
    words = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made(tmp_path / name)
        folder = tmp_path / name / "compose/secrets"
        mine = [f.read_text() for f in folder.iterdir() if f.suffix in (".token", ".password")]
        assert not [word for word in mine if word in (tmp_path / name / ".env").read_text()]
        words += mine
    assert len(set(words)) == len(words) == 2 * (len(MAKE_ENV.TOKENS) + len(MAKE_ENV.PASSWORDS))
    assert min(map(len, words)) >= 32


def test_our_programs_take_what_it_writes(tmp_path: Path) -> None:
    made(tmp_path)
    folder = tmp_path / "compose/secrets"
    known = rules.load(folder / "security.yaml")
    for name, role in MAKE_ENV.TOKENS.items():
        found = known.token((folder / f"{name}.token").read_bytes())
        assert found is not None
        assert (found.name, {str(each) for each in found.roles}) == (name, {role})
    assert not known.anonymous.roles
    told = load(
        Config, ["--config", str(folder / "exporter.yaml")], {}, prog="x", prefix="WATTSHED_"
    )
    assert told.otlp.token == (folder / "exporter.token").read_text()
    digest = hashlib.sha256((folder / "clickhouse-admin.password").read_bytes()).hexdigest()
    assert digest in (folder / "clickhouse-users.xml").read_text()


@pytest.mark.parametrize(
    ("meter", "profiles"),
    [
        ("", "server,node,alerting,demo"),
        ("sys/class/powercap/intel-rapl:0/energy_uj", "server,node,alerting"),
        ("sys/class/hwmon/hwmon3/power1_average", "server,node,alerting"),
        ("proc/driver/nvidia/version", "server,gpu,alerting"),
    ],
)
def test_a_fleet_is_simulated_where_no_meter_is(tmp_path: Path, meter: str, profiles: str) -> None:
    if meter:
        file = tmp_path / "host" / meter
        file.parent.mkdir(parents=True)
        file.touch()
    found = made(tmp_path)
    assert found == {
        "COMPOSE_PROFILES": profiles,
        "WATTSHED_NODE": "n1",
        "WATTSHED_GID": str(os.getgid()),
        "WATTSHED_ALERTS": "quiet",
    }


def test_what_is_asked_for_is_done(tmp_path: Path) -> None:
    found = made(tmp_path, "--embedded", "--gpu", "--no-demo", "--webhook", "https://w.example/x")
    assert found["COMPOSE_PROFILES"] == "embedded,gpu,alerting"
    assert found["WATTSHED_ALERTS"] == "webhook"
    said = (tmp_path / "compose/secrets/alert-webhook.url").read_text()
    assert said == "https://w.example/x"


def test_what_was_made_of_another_secret_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path)
    (tmp_path / "compose/secrets/exporter.token").unlink()
    made(tmp_path)
    assert "compose/secrets/exporter.yaml was made of another" in capsys.readouterr().err


def test_what_a_file_of_ones_own_lacks_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("WATTSHED_PORT=8080\nWATTSHED_NODE=mine\n")
    made(tmp_path)
    told = capsys.readouterr().err.splitlines()
    assert [line.partition("does not say ")[2].partition(":")[0] for line in told] == [
        "COMPOSE_PROFILES",
        "WATTSHED_GID",
    ]


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no name of a machine"):
        made(tmp_path, "--node", "two words")

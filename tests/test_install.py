"""What the pages tell to type parses and names what is there; what it lays down it removes."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from wattshed_collector.cli import parser
from wattshed_exporter.config import Config as Exporter
from wattshed_exporter.settings import load

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "docs" / f"INSTALL-{place}.md" for place in ("SLURM", "EDGE")]
SHARED = "/opt/wattshed/share/wattshed/"
KEEPING = {"/opt/wattshed", "/etc/wattshed"}
"""Folders that go with all that is in them."""
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def commands(page: Path) -> list[str]:
    """Return what stands after a prompt in the blocks of a page."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.S)
    return [line[2:] for block in blocks for line in block.splitlines()]


def shipped() -> dict[str, Path]:
    """Return where the wheel lays which folder of ours."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    told = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    return {f"/opt/wattshed/{target}/": ROOT / source for source, target in told.items()}


@each_page
def test_a_shell_understands_every_command(page: Path) -> None:
    script = "\n".join(commands(page))
    assert script.count("\n") > 10
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@each_page
def test_every_file_that_is_copied_is_in_the_wheel(page: Path) -> None:
    places = shipped()
    named = re.findall(rf"{SHARED}\S+", "\n".join(commands(page)))
    assert named
    for path in named:
        folder = next(place for place in places if path.startswith(place))
        assert (places[folder] / path.removeprefix(folder)).is_file(), path


@each_page
def test_every_command_of_ours_takes_its_arguments(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line.partition(" > ")[0])
        program = words[0].removeprefix("/opt/wattshed/bin/")
        if program == "wattshed":
            parser().parse_args(words[1:])
        elif program == "wattshed-exporter":
            load(Exporter, words[1:], {}, prog=program)


@each_page
def test_every_service_is_one_of_ours(page: Path) -> None:
    units = re.findall(r"systemctl (?:enable|disable|restart|clean).* (\S+)", page.read_text())
    assert units
    for unit in units:
        assert (ROOT / unit.partition("-")[2] / "systemd" / f"{unit}.service").is_file()


@each_page
def test_every_variable_is_a_setting(page: Path) -> None:
    text = "\n".join(re.findall(r"```sh\n(.*?)```", page.read_text(), re.S))
    told = dict(re.findall(r"^(WATTSHED_\w+)=(.+)$", text, re.M))
    assert told
    load(Exporter, [], told, prog="wattshed-exporter")


def laid(lines: list[str]) -> set[str]:
    """Return the files and folders that commands make."""
    found = {words[-1] for words in map(shlex.split, lines) if words[0] == "install"}
    found |= {words[-1] for words in map(shlex.split, lines) if words[1:3] == ["-m", "venv"]}
    return found | set(re.findall(r"> (/\S+)", "\n".join(lines)))


def removed(lines: list[str]) -> set[str]:
    return {
        w for words in map(shlex.split, lines) if words[0] == "rm" for w in words if w[0] == "/"
    }


@each_page
def test_what_is_laid_down_is_removed(page: Path) -> None:
    lines = commands(page)
    gone = removed(lines)
    left = {
        path
        for path in laid(lines)
        if path not in gone and not {str(p) for p in Path(path).parents} & gone
    }
    assert len(laid(lines)) > 3
    assert left == set()
    assert gone >= KEEPING
    enabled, disabled = (
        set(re.findall(rf"systemctl {word} --now (\S+)", "\n".join(lines)))
        for word in ("enable", "disable")
    )
    cleaned = set(re.findall(r"systemctl clean --what=state (\S+)", "\n".join(lines)))
    assert enabled == disabled == cleaned
    users = "systemd-sysusers" in lines
    assert users == ("userdel wattshed" in lines)

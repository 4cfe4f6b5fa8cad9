"""docs/IMPORTING.md: each command is typed and prints what stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.fixtures.stores import Stores

from wattshed_collector.cli import main
from wattshed_collector.receivers.files.mapping import QUANTITIES, TEXTS, TIMES
from wattshed_collector.store.migrate import Layout

PAGE = (Path(__file__).parents[2] / "docs/IMPORTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```\w+ file=(\S+)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"```console\n\$ wattshed (.*?)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, and a store that keeps everything."""
    path = tmp_path_factory.mktemp("page")
    for name, text in FILES.items():
        (path / name).write_text(text, encoding="utf-8")
    (path / "data").mkdir()
    stores.prepare(path / "data", Layout(raw_days=0, minute_days=0))
    return path


def test_the_page_has_examples_of_each_format() -> None:
    kinds = {command.split()[1] for command, _ in COMMANDS}
    assert kinds == {"csv", "nvidia-smi", "tegrastats", "ipmi"}
    assert all(any(name in command for command, _ in COMMANDS) for name in FILES)


@pytest.mark.parametrize(("command", "printed"), COMMANDS)
def test_what_is_typed_prints_what_stands_there(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, printed: str
) -> None:
    words = [str(folder / word) if word in FILES else word for word in shlex.split(command)]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--dry-run", "--data", str(folder / "data")])
    said = capsys.readouterr()
    assert (ended.value.code, said.err) == (0, "")
    assert said.out == printed.replace("written:", "would be written:")


def test_every_field_is_on_the_page() -> None:
    for name in (*TIMES, *QUANTITIES, *TEXTS):
        assert f"`{name}`" in PAGE, name

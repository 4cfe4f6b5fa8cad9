"""The operator's topology file: read whole, or refused with everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattshed_collector.config import TopologyFile
from wattshed_collector.topology import load
from wattshed_exporter.errors import ConfigError


def test_parents_by_key_and_glob(tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text("parents:\n  n1/plug: rack/pdu\n  'n*/gpu[0-3]': tray\n  nas: null\n")
    expected = {"n1/plug": "rack/pdu", "n*/gpu[0-3]": "tray", "nas": None}
    assert load(file) == expected
    assert TopologyFile(file=file).problems() == []


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["it must hold"]),
        ("[]", ["it must hold"]),
        ("parents: [a]", ["it must hold"]),
        ("parents: {1: a, b: 2, c: ''}\nroots: []", ["'roots'", "1 is not", "b: 2", "c: ''"]),
        ("parents: {", ["cannot be read"]),
        ("\u0000", ["cannot be read"]),
    ],
)
def test_what_is_wrong_is_told_at_once(tmp_path: Path, text: str, problems: list[str]) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(file)
    assert len(raised.value.problems) == len(problems)
    for told, part in zip(raised.value.problems, problems, strict=True):
        assert part in told
    assert TopologyFile(file=file).problems() == list(raised.value.problems)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read"):
        load(tmp_path / "nowhere.yaml")

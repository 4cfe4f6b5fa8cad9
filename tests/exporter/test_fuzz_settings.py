"""Whatever a settings file, a flag or a variable says: settings, or every problem as a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.fixtures.mutate import spoiled_bytes

from wattshed_exporter.config import Config
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import load, options

GOOD = b"""\
site: hall-2
sources: [nvml, rapl]
interval_seconds: 1.5
stdout: true
otlp:
  endpoint: http://collector.example:9740
  token: secret
redfish:
  ca_file: /etc/ca.pem
smartplug:
  urls:
    - http://plug1.example
"""
ODD = [b"? &a [*a]", b"!!python/object:os.system {}", b"a: &b [*b]", b"\xef\xbb\xbf{}", b"- 1\n- 2"]
ODD += [b"site: 2026-01-01", b"interval_seconds: .nan", b"interval_seconds: 1" + b"0" * 400]
ODD += [b"interval_seconds: 0x" + b"f" * 5000, b"site: {a: {b: {c: 1}}}", b"[" * 500, b"<<: 1"]
ODD += [b"site: 2026-99-99", b"site: !!int x", b"site: !!timestamp z", b"site: !!bool x", b"a: 0b_"]
ODD += [
    b"sources: !!set {nvml}",
    b"sources: [[nvml]]",
    b"? {}\n: 1",
    b"? [1]\n: 2",
    b"\x00",
    b"? 0x" + b"f" * 5000 + b"\n: 1",
]
KEYS = [option.key for option in options(Config)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings") / "exporter.yaml"


def check(argv: list[str], environ: dict[str, str]) -> None:
    try:
        told = load(Config, argv, environ, prog="wattshed-exporter")
    except ConfigError as error:
        problems = error.problems
    else:
        assert told.interval_seconds > 0
        assert told.sources
        return
    assert problems
    assert all(problem and "\n" not in problem for problem in problems)


@pytest.mark.parametrize("content", ODD, ids=lambda content: repr(content[:20]))
def test_odd_files(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    check([f"--config={file}"], {})


@settings(max_examples=60, deadline=None)
@given(spoiled_bytes([GOOD, *ODD]) | st.binary(max_size=60))
def test_any_file(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    check([f"--config={file}"], {})


@settings(max_examples=40, deadline=None)
@example([("web.config.file", "\x00")])
@given(st.lists(st.tuples(st.sampled_from(KEYS), st.text(max_size=12)), max_size=5))
def test_any_flags(pairs: list[tuple[str, str]]) -> None:
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in pairs]
    check([flag for flag in flags if not flag.startswith("--config")], {})


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), st.text(max_size=12).filter(lambda s: "\0" not in s)))
def test_any_variables(pairs: dict[str, str]) -> None:
    check([], {f"WATTSHED_{key.replace('.', '_').upper()}": text for key, text in pairs.items()})


@pytest.mark.parametrize("content", [GOOD, b"", b"# nothing\n"])
def test_a_good_file_has_no_problems(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    load(Config, [f"--config={file}"], {}, prog="wattshed-exporter")

"""Rows taken out of pages in the Prometheus text format."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tests.fixtures.dcgm import Exporter

from wattshed_exporter.errors import SourceError
from wattshed_exporter.sources.dcgm_page import BLANKS, FIELDS
from wattshed_exporter.sources.exposition import MOST_BYTES, fetch, rows


@pytest.mark.parametrize("file", ["plain", "kubernetes"])
def test_recorded_rows_with_spaces_and_blanks(data: Path, file: str) -> None:
    text = (data / f"recordings/dcgm-exporter/readme_blank-sentinel/{file}.txt").read_text()
    clock, _, blank = rows(text, text)
    assert clock.value == 139
    assert clock.labels["UUID"] == "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52"
    assert clock.labels.get("pod", "") == ""
    assert blank.value == 9223372036854775794
    assert blank.value in BLANKS


def test_recorded_pages_read_as_the_usual_parser_reads_them(data: Path) -> None:
    for page in (
        "dcgm-exporter/tesla-t4_driver-460_datadog/metrics.txt",
        "dcgm-exporter/readme_blank-sentinel/kubernetes.txt",
        "nvidia-gpu-exporter/metrics",
    ):
        path = data / "recordings" / page
        for file in [path] if path.is_file() else sorted(path.iterdir())[:2]:
            assert_same(file.read_text())


def assert_same(text: str) -> None:
    families = text_string_to_metric_families(text)
    usual = [(s.labels, float(s.value)) for family in families for s in family.samples]
    mine = [(dict(r.labels), float(r.value)) for r in rows(text, _All())]
    assert mine == usual


class _All:
    def __contains__(self, name: object) -> bool:
        return True


def test_page_without_end_is_too_large(exporter: Exporter) -> None:
    exporter.say(b"# " + b"x" * MOST_BYTES)
    with pytest.raises(SourceError) as caught:
        fetch(exporter.page, 10.0)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("m 5", 5),
        ("m{} 5", 5),
        ('m { a = "b" , } 5.5 1700000000000', 5.5),
        ("m\t1e3\r", 1000.0),
        ("m 9007199254740993", 9007199254740993),
        ("m 1_0", None),
        ("m ٣", None),
        ("m-5", None),
        ("m", None),
        ('m{a="b"} 1 2 3', None),
        ("n 5", None),
    ],
)
def test_rows(line: str, value: int | float | None) -> None:
    assert [row.value for row in rows(f"ok 1\n{line}\n", ("m",))] == (
        [] if value is None else [value]
    )


def test_escapes_in_labels() -> None:
    (found,) = rows(r'm{a="say \"}, {\" \\ \n \x",b=""} 1', ("m",))
    assert found.labels == {"a": 'say "}, {" \\ \n \\x', "b": ""}


LABELS = st.dictionaries(
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(
        lambda name: not name.startswith("__")
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=12),
    min_size=1,
    max_size=4,
)
QUOTED = str.maketrans({"\\": "\\\\", '"': '\\"'})
NUMBERS = st.one_of(st.integers(0, 2**64), st.floats(0, 1e18))


@given(st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), LABELS, NUMBERS), max_size=5))
def test_any_page_reads_as_the_usual_parser_reads_it(
    samples: list[tuple[str, dict[str, str], int | float]],
) -> None:
    text = ""
    for name, labels, value in samples:
        quoted = {key: said.translate(QUOTED) for key, said in labels.items()}
        told = ",".join(f'{key}="{said}"' for key, said in quoted.items())
        text += f"{name}{{{told}}} {value}\n"
    assert_same(text)


def test_a_long_line_takes_no_long_time() -> None:
    began = time.monotonic()
    for filler in ("\\", '"', "{", ",", " ", "a", 'a="', "=", '\\"'):
        text = f'DCGM_FI_DEV_POWER_USAGE{{UUID="{filler * 200_000}'
        with pytest.raises(SourceError):
            rows(text, FIELDS)
    assert time.monotonic() - began < 5

"""values.yaml, and the schema and the tables that are made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from helm_python import Chart, HelmError
from scripts.generate_chart import Mistake, read, schema, tables
from tests.helm.chart import CHART, render

Json = dict[str, Any]

SAMPLE = """
# Of no key.

# -- How many.
# @schema {minimum: 1}
count: 3
# -- Whether.
active: true
part:
  # -- A name,
  # told in two lines.
  name: ""
  # @schema {additionalProperties: {type: string}}
  # -- Labels | more.
  labels: {}
  # -- As they come.
  # @schema {additionalProperties: true}
  limits: {memory: 1Gi}
  # -- Several.
  # @schema {members: {of: part, but: [name]}}
  several: {first: {limits: {memory: 2Gi}}}
  # -- Nothing.
  # @schema {type: [integer, "null"]}
  none: null
  # -- Of the program.
  # @schema {settings: exporter}
  config: {interval_seconds: 5}
"""
BAD = [
    ({"count": 0}, "at '/count': minimum"),
    ({"count": "3"}, "at '/count': got string, want integer"),
    ({"cuont": 3}, "'cuont' not allowed"),
    ({"part": {"nmae": ""}}, "at '/part': additional properties 'nmae' not allowed"),
    ({"part": {"labels": {"a": 1}}}, "at '/part/labels/a': got number, want string"),
    ({"part": {"several": {"second": {"limit": {}}}}}, "'limit' not allowed"),
    ({"part": {"several": {"second": {"name": ""}}}}, "'name' not allowed"),
    ({"part": {"several": {"second": {"several": {}}}}}, "'several' not allowed"),
    ({"part": {"several": {"first": {"labels": {"a": 1}}}}}, "want string"),
    ({"part": {"none": "0"}}, "at '/part/none': got string, want null or integer"),
    ({"part": {"config": {"interval": 5}}}, "'interval' not allowed"),
    ({"part": {"config": {"interval_seconds": "5"}}}, "got string, want number"),
    ({"part": {"config": {"otlp": {"token": "x"}}}}, "'token' not allowed"),
    ({"part": {"config": {"idle": {"policy": "nobody"}}}}, "at '/part/config/idle/policy'"),
]
GOOD: list[Json] = [
    {},
    {"part": {"labels": {"a": "b"}, "limits": {"cpu": 1}, "none": 4}},
    {"part": {"several": {"second": {"limits": {"cpu": 1}, "config": {"node": "a"}}}}},
    {"part": {"config": {"sources": "nvml,rapl", "roots": {"procfs": "/p"}}}},
    {"part": {"config": {"sources": ["nvml"], "otlp": {"spool_bytes": 1048576}}}},
]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chart]:
    """A chart of the sample's values and nothing else."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "Chart.yaml").write_text("{apiVersion: v2, name: sample, version: 1.0.0}")
    (folder / "values.yaml").write_text(SAMPLE)
    (folder / "values.schema.json").write_text(json.dumps(schema(read(SAMPLE))))
    with Chart.load(str(folder)) as chart:
        yield chart


@pytest.mark.parametrize("values", GOOD)
def test_helm_takes_what_the_defaults_and_the_comments_say(sample: Chart, values: Json) -> None:
    sample.validate_schema(values)


@pytest.mark.parametrize(("values", "said"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_helm_refuses_all_else(sample: Chart, values: Json, said: str) -> None:
    with pytest.raises(HelmError) as refused:
        sample.validate_schema(values)
    assert said in str(refused.value)


def test_a_table_has_a_row_for_each_value() -> None:
    rows = [line for line in tables(read(SAMPLE)).splitlines() if line.startswith("| `")]
    assert rows == [
        "| `count` | `3` | How many. |",
        "| `active` | `true` | Whether. |",
        "| `part.name` |  | A name, told in two lines. |",
        "| `part.labels` | `{}` | Labels \\| more. |",
        '| `part.limits` | `{"memory": "1Gi"}` | As they come. |',
        '| `part.several` | `{"first": {"limits": {"memory": "2Gi"}}}` | Several. |',
        "| `part.none` |  | Nothing. |",
        '| `part.config` | `{"interval_seconds": 5}` | Of the program. |',
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1", "--: a$"),
        ("# -- A.\na: 1\n# -- B.\na: 2", "a is there twice"),
        ("a:\n  # -- B.\n  b: 1\n  c: 2", "--: a.c$"),
        ("# -- A.\n# @schema 3\na: 1", "a: what follows @schema is not a mapping"),
        ("# -- A.\non: 1", "on is no text"),
        ("[]", "not a mapping"),
    ],
)
def test_a_mistake_in_values_is_told(text: str, said: str) -> None:
    with pytest.raises(Mistake, match=said):
        read(text)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"nameOverrid": "x"}, "additional properties 'nameOverrid' not allowed"),
        ({"nameOverride": 3}, "at '/nameOverride': got number, want string"),
    ],
)
def test_helm_names_a_key_that_is_not_there(values: Json, said: str) -> None:
    with Chart.load(str(CHART)) as chart, pytest.raises(HelmError) as refused:
        chart.validate_schema(values)
    assert said in str(refused.value)
    with pytest.raises(HelmError) as refused:
        render(values)
    assert said in str(refused.value)


def test_a_parent_chart_may_say_more() -> None:
    render({"enabled": True, "global": {"storageClass": "fast"}})

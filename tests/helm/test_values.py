"""values.yaml, and the schema and the tables that are made of it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml
from helm_python import Chart, HelmError
from scripts import generate_chart
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
    ({"count": 0}, "minimum"),
    ({"count": "3"}, "integer"),
    ({"cuont": 3}, "cuont"),
    ({"part": {"nmae": ""}}, "nmae"),
    ({"part": {"labels": {"a": 1}}}, "string"),
    ({"part": {"several": {"second": {"limit": {}}}}}, "limit"),
    ({"part": {"several": {"second": {"name": ""}}}}, "name"),
    ({"part": {"several": {"second": {"several": {}}}}}, "several"),
    ({"part": {"several": {"first": {"labels": {"a": 1}}}}}, "string"),
    ({"part": {"none": "0"}}, "null"),
    ({"part": {"config": {"interval": 5}}}, "interval"),
    ({"part": {"config": {"interval_seconds": "5"}}}, "number"),
    ({"part": {"config": {"otlp": {"token": "x"}}}}, "token"),
    ({"part": {"config": {"idle": {"policy": "nobody"}}}}, "nobody"),
]
GOOD: list[Json] = [
    {},
    {"part": {"labels": {"a": "b"}, "limits": {"cpu": 1}, "none": 4}},
    {"part": {"several": {"second": {"limits": {"cpu": 1}, "config": {"node": "a"}}}}},
    {"part": {"config": {"sources": "nvml,rapl", "state_dir": None, "roots": {"procfs": "/p"}}}},
    {"part": {"config": {"sources": ["nvml"], "otlp": {"spool_bytes": 1048576}}}},
]


def test_the_schema_and_the_readme_are_up_to_date() -> None:
    for path, text in generate_chart.generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run make chart"


def test_the_schema_takes_what_the_defaults_and_the_comments_say() -> None:
    made = schema(read(SAMPLE))
    jsonschema.Draft7Validator.check_schema(made)
    for values in [yaml.safe_load(SAMPLE), *GOOD]:
        jsonschema.Draft7Validator(made).validate(values)


@pytest.mark.parametrize(("values", "named"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_the_schema_refuses_all_else(values: Json, named: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=named):
        jsonschema.Draft7Validator(schema(read(SAMPLE))).validate(values)


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

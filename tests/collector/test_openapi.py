"""The description of the API: valid, complete, and of the roles that the gate really wants."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from wattshed_collector import openapi, served
from wattshed_collector.api import access
from wattshed_collector.openapi import NOBODY, Operation


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(json.dumps(openapi.document(served.OPERATIONS)))


def test_it_is_openapi(document: Any) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_no_path_is_described_twice() -> None:
    told = [(operation.method, operation.path) for operation in served.OPERATIONS]
    assert len(told) == len(set(told))


@pytest.mark.parametrize("operation", served.OPERATIONS, ids=lambda o: f"{o.method} {o.path}")
def test_the_role_is_what_the_gate_wants(operation: Operation) -> None:
    request = make_mocked_request(operation.method, operation.path)
    is_open = operation.path in access.OPEN
    assert operation.role == (
        NOBODY if is_open else access.needed(request.method, request.path).value
    )


def test_examples_are_what_their_parameter_takes() -> None:
    for operation in served.OPERATIONS:
        for parameter in operation.parameters:
            schema = dict(parameter.schema)
            for said in (parameter.example, schema.get("default")):
                if said not in ("", None):
                    Draft202012Validator(schema).validate(said)


def test_every_refusal_has_an_answer(document: Any) -> None:
    known = document["components"]["responses"]
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                assert "description" in answer or answer["$ref"].rsplit("/", 1)[1] in known, status


def test_nullable_takes_null() -> None:
    for schema in (openapi.number(), openapi.record({"a": openapi.text()})):
        Draft202012Validator(dict(openapi.maybe(schema))).validate(None)

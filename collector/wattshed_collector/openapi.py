"""The HTTP API as data: who answers on a path says here what, and one document is made of all.

Each module with routes has ``OPERATIONS`` beside them; ``served.OPERATIONS`` is all of them. The
document is OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0), schemas are JSON Schema 2020-12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wattshed_exporter import __version__

Schema = Mapping[str, Any]

JSON, PLAIN, HTML, CSV = "application/json", "text/plain", "text/html", "text/csv"
PROTOBUF = "application/x-protobuf"
READ, INGEST, METRICS, ADMIN, NOBODY = "read", "ingest", "metrics", "admin", ""

REFUSALS: Mapping[int, str] = {
    400: "What was asked or sent cannot be read; the sentence says what can.",
    401: "Nobody known asked: show a token, a password or a certificate.",
    403: "Who asked lacks the role, or a page of another site asked.",
    404: "There is nothing of that name.",
    413: "The body is larger than is taken.",
    415: "The body is of a kind or an encoding that is not read here.",
    429: "More requests than allowed; Retry-After says when to ask again.",
    503: "Busy, or the store is away; Retry-After says when to ask again.",
}
"""What any path may answer instead, and what it means."""
GATE = (401, 403, 429, 503)
"""What the gate before every route may answer, where who asks is of interest."""


def _said(schema: dict[str, Any], meaning: str) -> Schema:
    return schema | ({"description": meaning} if meaning else {})


def text(meaning: str = "", *choices: str) -> Schema:
    return _said({"type": "string"} | ({"enum": list(choices)} if choices else {}), meaning)


def number(meaning: str = "") -> Schema:
    return _said({"type": "number"}, meaning)


def whole(meaning: str = "") -> Schema:
    return _said({"type": "integer"}, meaning)


def flag(meaning: str = "") -> Schema:
    return _said({"type": "boolean"}, meaning)


def maybe(schema: Schema) -> Schema:
    """Return a schema that takes null as well: what is not known."""
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def listed(of: Schema, meaning: str = "") -> Schema:
    return _said({"type": "array", "items": of}, meaning)


def record(fields: Mapping[str, Schema], meaning: str = "", optional: Iterable[str] = ()) -> Schema:
    """Return the schema of an object; every field is there unless it is ``optional``."""
    required = [name for name in fields if name not in set(optional)]
    told = {"type": "object", "properties": dict(fields), "required": required}
    return _said(told, meaning)


def by_name(of: Schema, meaning: str = "") -> Schema:
    """Return the schema of an object whose names are data."""
    return _said({"type": "object", "additionalProperties": of}, meaning)


WINDOW = record(
    {"start": whole("Unix seconds"), "end": whole("Unix seconds; not in the window any more")},
    "What was asked for",
)
SPAN = record(
    {
        "start": whole("Unix seconds"),
        "end": whole("Unix seconds; not in the window any more"),
        "step": whole("Seconds"),
    }
)


def rows(of: Mapping[str, Schema], meaning: str = "", **beside: Schema) -> Schema:
    """Return the schema of an answer with ``rows``, and what stands ``beside`` them."""
    return record({**beside, "rows": listed(record(of, meaning))})


@dataclass(frozen=True, slots=True)
class Parameter:
    """``example`` is what a client may send as it stands."""

    name: str
    meaning: str
    schema: Schema = field(default_factory=text)
    is_required: bool = False
    where: str = "query"
    example: str = ""

    def document(self) -> dict[str, Any]:
        told: dict[str, Any] = {"name": self.name, "in": self.where, "description": self.meaning}
        told |= {"required": self.is_required, "schema": self.schema}
        return told | ({"example": self.example} if self.example else {})


SINCE = Parameter(
    "since",
    "Begin of the window: a length before its end such as 90m, 24h or 7d, or an instant such as "
    "2026-01-31T08:00Z",
    {"type": "string", "default": "24h"},
)
UNTIL = Parameter("until", "End of the window, an instant; now where it is not said")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    ``answers`` and ``takes`` are schemas by media type; ``role`` is what the gate wants of who
    asks; ``refusals`` are statuses beside those of the ``gate``, of ``REFUSALS``.
    """

    method: str
    path: str
    summary: str
    answers: Mapping[str, Schema]
    parameters: tuple[Parameter, ...] = ()
    takes: Mapping[str, Schema] = field(default_factory=dict)
    role: str = READ
    refusals: tuple[int, ...] = ()
    gate: tuple[int, ...] = GATE
    status: int = 200
    note: str = ""

    @property
    def refused(self) -> list[int]:
        """Every status that says no."""
        return sorted({*self.refusals, *(self.gate if self.role else ())})

    def document(self) -> dict[str, Any]:
        needs = f"Needs the role `{self.role}`." if self.role else "Open to everybody."
        answer: dict[str, Any] = {"description": self.summary}
        if self.answers:
            answer["content"] = {kind: {"schema": of} for kind, of in self.answers.items()}
        told: dict[str, Any] = {
            "operationId": self._name(),
            "summary": self.summary,
            "description": " ".join(filter(None, (self.note, needs))),
            "parameters": [parameter.document() for parameter in self.parameters],
            "responses": {str(self.status): answer},
            "security": [{"token": []}, {"password": []}, {}] if self.role else [{}],
        }
        for status in self.refused:
            told["responses"][str(status)] = {"$ref": f"#/components/responses/{status}"}
        if self.takes:
            content = {kind: {"schema": schema} for kind, schema in self.takes.items()}
            told["requestBody"] = {"required": True, "content": content}
        return told

    def _name(self) -> str:
        parts = self.path.replace("{", "").replace("}", "").replace(".", "-").split("/")
        return "_".join([self.method.lower(), *filter(None, parts)]).replace("-", "_")


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the OpenAPI document of some operations."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = operation.document()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wattshed collector",
            "version": __version__,
            "summary": "Which workload used each joule, and what it produced.",
            "description": "Energies are joules, powers watts, times Unix seconds UTC, ratios 0 to "
            "1. What is not known is null, never 0.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR},
            "responses": {str(status): _refusal(status) for status in REFUSALS},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
    }


ERROR = record(
    {
        "error": text("What is wrong, and what to do"),
        "problems": listed(text(), "Each thing that is wrong with a document"),
        "reason": text("One word of it"),
    },
    optional=("problems", "reason"),
)


def _refusal(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": REFUSALS[status], "content": {JSON: {"schema": schema}}}

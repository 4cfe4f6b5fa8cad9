"""The description of the API as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .openapi import REFUSALS, Operation, Schema


def markdown(operations: Iterable[Operation]) -> str:
    """Return docs/API.md."""
    lines = [
        "# API",
        "",
        "Written by `make docs` from the descriptions beside the routes; edit those. A collector",
        "answers with the same as OpenAPI 3.1 at `/v1/openapi.json`.",
        "",
        "Energies are joules, powers watts, times Unix seconds UTC, ratios 0 to 1. What is not",
        'known is null, never 0. A refusal is `{"error": ...}`: a sentence that says what to do.',
        "",
        "| status | meaning |",
        "|---|---|",
        *(f"| {status} | {meaning} |" for status, meaning in REFUSALS.items()),
    ]
    for operation in operations:
        lines += _section(operation)
    return "\n".join(lines) + "\n"


def _section(operation: Operation) -> list[str]:
    told = operation.document()
    lines = ["", f"## {operation.method} {operation.path}", ""]
    lines += [f"{operation.summary}. {told['description']}"]
    if operation.refused:
        lines += ["", f"May refuse with {', '.join(map(str, operation.refused))}."]
    if operation.parameters:
        lines += ["", "| parameter | type | meaning |", "|---|---|---|"]
        lines += [
            f"| `{p.name}` | {_kind(p.schema)} | {_cell(p.meaning)} |" for p in operation.parameters
        ]
    for title, bodies in (("Takes", operation.takes), ("Answers with", operation.answers)):
        for kind, schema in bodies.items():
            lines += ["", f"{title} `{kind}`: {_kind(schema)}"]
            if fields := list(_fields(schema)):
                lines += ["", "| field | type | meaning |", "|---|---|---|"]
                lines += [f"| `{at}` | {_kind(of)} | {_meaning(of)} |" for at, of in fields]
    return lines


def _fields(schema: Schema, at: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield each field below a schema and where it stands, such as ``rows[].joules``."""
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if choice.get("type") == "object":
            yield from _fields(choice, at)
    if "items" in schema:
        yield from _fields(schema["items"], f"{at}[]")
    for name, of in schema.get("properties", {}).items():
        here = f"{at}.{name}" if at else name
        yield here, of
        yield from _fields(of, here)
    if isinstance(by := schema.get("additionalProperties"), Mapping):
        yield from _fields(by, f"{at}.*" if at else "*")


def _kind(schema: Schema) -> str:
    told = schema.get("type", "")
    kinds = [told] if isinstance(told, str) else list(told)
    kinds = [kind for kind in kinds if kind] or [
        _kind(choice) for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ()))
    ]
    default = f", default `{schema['default']}`" if "default" in schema else ""
    return " or ".join(kinds or ["bytes"]) + default


def _meaning(schema: Schema) -> str:
    said = _cell(schema.get("description", ""))
    choices = ", ".join(f"`{choice}`" for choice in schema.get("enum", ()))
    return ". ".join(filter(None, (said, choices and f"One of {choices}")))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

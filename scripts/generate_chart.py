"""Write values.schema.json and the tables in the chart's README.md, or with --check compare them.

Both come from ``values.yaml``: ``# -- text`` above a key describes it, ``# @schema {...}`` is
merged into the schema of the key below. Types are those of the defaults, and a map takes no other
keys than those that it has. Two words are not JSON Schema's own: ``settings: exporter`` (or
``collector``) means what that program's configuration file takes, without its secrets; ``members:
{of: a.b, but: [c]}`` that each member takes the keys of ``a.b``, without the map itself and ``c``.
"""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from wattshed_collector import config as collector
from wattshed_exporter import config as exporter
from wattshed_exporter.settings import Option, options

CHART = Path(__file__).resolve().parent.parent / "helm" / "wattshed"
PROGRAMS: Mapping[str, type] = {"exporter": exporter.Config, "collector": collector.Config}
BEGIN, END = "<!-- generated: values -->", "<!-- end of generated: values -->"
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
LONGEST_DEFAULT = 60
SECRET_KEYS = frozenset({"password", "token"})

Json = dict[str, Any]


class Mistake(Exception):
    """What is wrong with values.yaml, in a sentence."""


@dataclass(frozen=True)
class Value:
    """One key of values.yaml, and the keys below it."""

    path: tuple[str, ...]
    default: Any
    help: str
    schema: Json
    children: list[Value] = field(default_factory=list)

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def apart(self) -> bool:
        """Whether the keys below are described each by itself."""
        return any(child.help or child.apart for child in self.children)


def read(text: str) -> list[Value]:
    """Return the values of a file with their comments.

    Raises:
        Mistake: a key that is there twice or is no text, a value without a description, or
            ``@schema`` that is no mapping.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise Mistake("values.yaml is not a mapping")
    values = list(_members(root, (), yaml.safe_load(text), text.splitlines()))
    if bare := [name for value in values for name in _bare(value)]:
        raise Mistake(f"without a description, a comment that begins with --: {', '.join(bare)}")
    return values


def _members(
    node: yaml.MappingNode, path: tuple[str, ...], defaults: Json, lines: Sequence[str]
) -> Iterator[Value]:
    seen: set[str] = set()
    for key, below in node.value:
        here = (*path, key.value)
        if key.value in seen:
            raise Mistake(f"{'.'.join(here)} is there twice")
        if key.value not in defaults:
            raise Mistake(f"{'.'.join(here)} is no text to YAML; it needs quotes")
        seen.add(key.value)
        default = defaults[key.value]
        help, schema = _comment(lines, key.start_mark, ".".join(here))
        mapping = isinstance(below, yaml.MappingNode)
        children = list(_members(below, here, default, lines)) if mapping else []
        yield Value(here, default, help, schema, children)


def _comment(lines: Sequence[str], mark: yaml.Mark, name: str) -> tuple[str, Json]:
    """Return the description and the schema in the comments directly above a key's line."""
    first = line = mark.line
    if lines[line][: mark.column].strip():
        return "", {}  # within braces, on the line of another key
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    text: list[str] = []
    schema: Json = {}
    for comment in lines[first:line]:
        said = comment.lstrip().removeprefix("#").strip()
        if said.startswith("@schema"):
            part = yaml.safe_load(said.removeprefix("@schema"))
            if not isinstance(part, dict):
                raise Mistake(f"{name}: what follows @schema is not a mapping")
            schema = merged(schema, part)
        elif said.startswith("--"):
            text = [said.removeprefix("--").strip()]
        elif text:
            text.append(said)
    return " ".join(text), schema


def _bare(value: Value) -> Iterator[str]:
    """Yield the names of what nobody described."""
    if value.help:
        return
    if not value.apart:
        yield value.name
    for child in value.children if value.apart else ():
        yield from _bare(child)


def merged(under: Json, over: Json) -> Json:
    """Return both mappings as one; the second one counts where they differ."""
    made = dict(under)
    for key, value in over.items():
        old = made.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        made[key] = merged(typing.cast(Json, old), value) if both else value
    return made


def schema(values: Sequence[Value]) -> Json:
    """Return the draft-07 schema of all values."""
    root = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart wattshed",
        **_closed(values),
    }
    return typing.cast(Json, _resolved(root, root, ""))


def _closed(values: Sequence[Value]) -> Json:
    properties = {value.path[-1]: _one(value) for value in values}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _one(value: Value) -> Json:
    if "$ref" in value.schema:
        return value.schema
    described = {"description": value.help} if value.help else {}
    return {**described, **merged(_inferred(value), value.schema)}


def _inferred(value: Value) -> Json:
    if value.default is None:
        return {}
    if not isinstance(value.default, dict):
        return {"type": TYPES[type(value.default)]}
    open_ = {"settings", "members", "additionalProperties"} & value.schema.keys()
    if not value.children or (open_ and not value.apart) or "members" in open_:
        return {"type": "object"}
    return _closed(value.children)


def _resolved(node: Any, root: Json, name: str) -> Any:
    """Put JSON Schema in place of our two words of it."""
    if not isinstance(node, dict):
        return node
    made = {key: _resolved(below, root, key) for key, below in node.items()}
    if isinstance(program := made.pop("settings", None), str):
        made = merged(made, settings_schema(PROGRAMS[program]))
    if isinstance(like := made.get("members"), dict) and "of" in like:
        del made["members"]
        made["additionalProperties"] = _like(root, like["of"], {name, *like.get("but", ())})
    return made


def _like(root: Json, path: str, without: set[str]) -> Json:
    """Return the schema of a map with the keys of another one, by reference to it."""
    model, at = root, "#"
    for step in path.split("."):
        model, at = model["properties"][step], f"{at}/properties/{step}"
    taken = [key for key in model["properties"] if key not in without]
    properties = {key: {"$ref": f"{at}/properties/{key}"} for key in taken}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def settings_schema(cls: type) -> Json:
    """Return what the configuration file of a program may say; secrets belong elsewhere."""
    root: Json = {"type": "object", "additionalProperties": False, "properties": {}}
    for option in options(cls):
        if _is_secret(option):
            continue
        section = root
        for step in option.path[:-1]:
            empty = {"type": "object", "additionalProperties": False, "properties": {}}
            section = section["properties"].setdefault(step, empty)
        told = {"description": option.help} if option.help else {}
        section["properties"][option.path[-1]] = {**told, **_kind(option.type)}
    return root


def _is_secret(option: Option) -> bool:
    """A list of sections is marked as a whole for what one key of them may hold."""
    sections = any(is_dataclass(part) for part in typing.get_args(option.type))
    return option.path[-1] in SECRET_KEYS or (option.secret and not sections)


def _kind(kind: Any) -> Json:
    """Return the schema of a setting's type, as ``settings.from_yaml`` takes it."""
    if isinstance(kind, types.UnionType):
        inner = _kind(next(k for k in typing.get_args(kind) if k is not types.NoneType))
        return {**inner, "type": [inner["type"], "null"]}
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if is_dataclass(item):
            return {"type": "array", "items": settings_schema(typing.cast(type, item))}
        return {"type": ["array", "string"], "items": _kind(item)}
    if typing.get_origin(kind) is dict:
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"type": "string", "enum": list(kind)}
    return {"type": TYPES.get(kind, "string")}


def tables(values: Sequence[Value]) -> str:
    """Return a table of the values below each key, in the order of the file."""
    lines: list[str] = []
    alone = [value for value in values if not value.apart]
    if alone:
        lines += _table("Names and objects", alone)
    for value in values:
        if value.apart:
            lines += _table(f"`{value.name}`", list(_rows(value)))
    return "\n".join(lines) + "\n"


def _table(title: str, values: Sequence[Value]) -> list[str]:
    rows = [f"| `{v.name}` | {_shown(v.default)} | {_cell(v.help)} |" for v in values]
    return ["", f"### {title}", "", "| value | default | meaning |", "|---|---|---|", *rows]


def _rows(value: Value) -> Iterator[Value]:
    if not value.apart:
        yield value
    for child in value.children if value.apart else ():
        yield from _rows(child)


def _shown(default: Any) -> str:
    if default in ("", None):
        return ""
    text = default if isinstance(default, str) else json.dumps(default)
    if len(text) > LONGEST_DEFAULT:
        return "see values.yaml"
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def generated() -> dict[Path, str]:
    """Return every generated file with the text that it should have."""
    values = read((CHART / "values.yaml").read_text(encoding="utf-8"))
    readme = CHART / "README.md"
    head, found, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not (found and closed):
        raise Mistake(f"README.md lacks the marks {BEGIN} and {END}")
    return {
        CHART / "values.schema.json": json.dumps(schema(values), indent=1) + "\n",
        readme: f"{head}{BEGIN}\n{tables(values)}\n{END}{tail}",
    }


def main() -> None:
    """Write what differs; with ``--check`` only say so and exit with 1."""
    check = "--check" in sys.argv[1:]
    try:
        made = generated()
    except Mistake as mistake:
        sys.exit(f"{CHART.name}: {mistake}")
    stale = [
        (path, text)
        for path, text in made.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        print(f"{path.name} {'is out of date, run make chart' if check else 'written'}")
        if not check:
            path.write_text(text, encoding="utf-8")
    if stale and check:
        sys.exit(1)


if __name__ == "__main__":
    main()

"""Typed settings from a file, the environment and flags, described once by dataclasses.

A configuration is a frozen dataclass whose fields are made with ``option``; nested dataclasses
become sections. A flag beats the environment, which beats the YAML file, which beats the default.
Every problem of all three is gathered before anything is said, and ``--help`` and the manual come
from the same table. PyYAML is imported only when there is a file to read.
"""

from __future__ import annotations

import math
import re
import sys
import types
import typing
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from . import __version__
from .errors import ConfigError

T = TypeVar("T")

TRUE = frozenset({"true", "yes", "on", "1"})
FALSE = frozenset({"false", "no", "off", "0"})
NOT_YAML = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What PyYAML lets through of a scalar that is none of its type, such as the date 2026-99-99."""
LONGEST_SECONDS = 31_536_000.0
"""A year. The system's waits overflow beyond some centuries, and nobody means them."""
DURATIONS = {"seconds": 1.0, "hours": 3600.0}
"""Last words of the names of options that hold a duration, and their seconds."""
SERVICE_LINK = re.compile(
    r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$"
)
"""Variables that Kubernetes sets for each service, which may well be called ``wattshed``."""


def option(
    default: Any, help: str, *, secret: bool = False, file_only: bool = False, shown: str = ""
) -> Any:
    """Declare one setting; the annotation of the field is its type.

    Args:
        default: the value, or a function without arguments that makes it.
        help: one sentence for ``--help`` and the manual.
        secret: never repeat the value in a message.
        file_only: no flag and no environment variable, because the value is a list of sections.
        shown: what the manual says in place of a default that differs per machine.
    """
    metadata = {"help": help, "secret": secret, "file_only": file_only, "shown": shown}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table that parsing, ``--help`` and the manual share."""

    path: tuple[str, ...]
    type: Any
    default: str
    help: str
    secret: bool
    file_only: bool

    @property
    def key(self) -> str:
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        return "" if self.file_only else "--" + self.key.replace("_", "-")

    def variable(self, prefix: str) -> str:
        return "" if self.file_only else "_".join((prefix, *self.path)).upper()


def options(cls: type, path: tuple[str, ...] = ()) -> Iterator[Option]:
    """Yield every option of a configuration class, in the order of its fields."""
    hints = typing.get_type_hints(cls)
    for item in fields(cls):
        here = (*path, item.name)
        if is_dataclass(hints[item.name]):
            yield from options(hints[item.name], here)
            continue
        told = item.metadata
        yield Option(
            here,
            hints[item.name],
            told.get("shown") or _show(_default(item)),
            told.get("help", ""),
            told.get("secret", False),
            told.get("file_only", False),
        )


def load(
    cls: type[T],
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    prog: str,
    prefix: str = "WATTSHED",
    description: str = "",
    epilog_examples: Sequence[str] = (),
    other_prefixes: Sequence[str] = (),
    others: Collection[str] = (),
) -> T:
    """Build ``cls`` from the file, the environment and the flags.

    ``--help`` and ``--version`` print and leave with status 0. Variables that begin with one of
    ``other_prefixes``, or are one of ``others``, belong to another program.

    Raises:
        ConfigError: with every problem that there is, each one sentence.
    """
    table = tuple(options(cls))
    if "-h" in argv or "--help" in argv:
        print(manual(table, prog, prefix, description, epilog_examples))
        raise SystemExit(0)
    if "--version" in argv:
        print(f"{prog} {__version__}")
        raise SystemExit(0)
    return _Loader(table, prefix, other_prefixes, others).load(cls, argv, environ)


def load_or_exit(
    cls: type[T], argv: Sequence[str], environ: Mapping[str, str], *, prog: str, **how: Any
) -> T:
    """Do what ``load`` does, but print the problems to stderr and leave with status 2."""
    try:
        return load(cls, argv, environ, prog=prog, **how)
    except ConfigError as error:
        refuse(prog, error)


def refuse(prog: str, error: ConfigError) -> NoReturn:
    """Print each problem on a line of its own and leave with status 2."""
    for problem in error.problems:
        print(f"{prog}: {problem}", file=sys.stderr)
    raise SystemExit(2)


class _Loader:
    """Gathers values and problems; one per call of ``load``."""

    def __init__(
        self,
        table: Sequence[Option],
        prefix: str,
        other_prefixes: Sequence[str] = (),
        others: Collection[str] = (),
    ) -> None:
        self.table = table
        self.prefix = prefix
        self.other_prefixes = tuple(other_prefixes)
        self.others = frozenset(others)
        self.by_key = {o.key: o for o in table}
        self.values: dict[str, object] = {}
        self.origins: dict[str, str] = {}
        self.problems: list[str] = []
        self.broken: set[str] = set()

    def load(self, cls: type[T], argv: Sequence[str], environ: Mapping[str, str]) -> T:
        flags, file = self._read_flags(argv)
        file = file or environ.get(f"{self.prefix}_CONFIG", "")
        if file:
            self._read_file(file)
        self._read_environment(environ)
        for chosen, text in flags:
            self._take(chosen, chosen.flag, text)
        instance = self._build(cls, ())
        self.problems += self._validate(instance, ())
        if self.problems:
            raise ConfigError([problem.replace("\n", "\\n") for problem in self.problems])
        return instance

    def _read_flags(self, argv: Sequence[str]) -> tuple[list[tuple[Option, str]], str]:
        """Return what each flag says, and the file that ``--config`` names."""
        by_flag = {o.flag: o for o in self.table if o.flag}
        found: list[tuple[Option, str]] = []
        file = ""
        rest = deque(argv)
        while rest:
            word = rest.popleft()
            flag, equals, value = word.partition("=")
            flag = flag.replace("_", "-")
            positive = by_flag.get("--" + flag.removeprefix("--no-"))
            if flag == "--config":
                file = self._flag_value(flag, equals, value, rest) or file
            elif flag in by_flag:
                chosen = by_flag[flag]
                if chosen.type is bool and not equals:
                    found.append((chosen, "true"))
                elif (text := self._flag_value(flag, equals, value, rest)) is not None:
                    found.append((chosen, text))
            elif positive is not None and positive.type is bool and not equals:
                found.append((positive, "false"))
            elif word.startswith("-"):
                self._unknown("flag", flag, [*by_flag, "--config", "--help", "--version"])
                if not equals and rest and not rest[0].startswith("-"):
                    rest.popleft()  # its value, not one more mistake
            else:
                self.problems.append(f"unknown argument {word}")
        return found, file

    def _flag_value(self, flag: str, equals: str, value: str, rest: deque[str]) -> str | None:
        if equals:
            return value
        if rest and not rest[0].startswith("--"):
            return rest.popleft()
        self.problems.append(f"{flag}: a value is missing")
        return None

    def _read_environment(self, environ: Mapping[str, str]) -> None:
        by_name = {o.variable(self.prefix): o for o in self.table if not o.file_only}
        start = self.prefix + "_"
        for name in sorted(environ):
            if name in by_name:
                self._take(by_name[name], name, environ[name])
            elif (
                name.startswith(start)
                and name != start + "CONFIG"
                and name not in self.others
                and not name.startswith(self.other_prefixes)
                and not SERVICE_LINK.search(name)
            ):
                self._unknown("environment variable", name, [*by_name, start + "CONFIG"])

    def _read_file(self, file: str) -> None:
        import yaml

        try:
            with open(file, encoding="utf-8") as stream:
                content = yaml.safe_load(stream)
        except OSError as error:
            self.problems.append(f"{file}: cannot be read: {error.strerror}")
        except (yaml.YAMLError, *NOT_YAML) as error:
            self.problems.append(f"{file}: is not YAML: {' '.join(str(error).split())}")
        else:
            self._read_section(file, content, ())

    def _read_section(self, file: str, content: object, path: tuple[str, ...]) -> None:
        where = f"{file}: {'.'.join(path)}" if path else file
        if content is None:
            return
        if not isinstance(content, dict):
            self.problems.append(f"{where}: should be a mapping of keys to values")
            return
        known = {o.path[len(path)] for o in self.table if o.path[: len(path)] == path}
        for name, value in content.items():
            name = printable(name, str)
            here = (*path, name)
            key = ".".join(here)
            if key in self.by_key:
                self._keep(self.by_key[key], f"{file}: {key}", value, from_yaml)
            elif name in known:
                self._read_section(file, value, here)
            else:
                self._unknown("key", name, sorted(known), where + ": ")

    def _take(self, chosen: Option, origin: str, text: str) -> None:
        self._keep(chosen, origin, text, from_text)

    def _keep(
        self, chosen: Option, origin: str, value: Any, convert: Callable[[Any, Any], object]
    ) -> None:
        try:
            self.values[chosen.key] = convert(value, chosen.type)
            self.origins[chosen.key] = origin
        except ValueError as error:
            said = "the value" if chosen.secret else printable(value, repr)
            self.problems.append(f"{origin}: {said} {error}")
            self.broken.add(chosen.key)

    def _unknown(self, what: str, name: str, known: Sequence[str], where: str = "") -> None:
        self.problems.append(f"{where}unknown {what} {name}{_did_you_mean(name, known)}")

    def _build(self, cls: type[T], path: tuple[str, ...]) -> T:
        hints = typing.get_type_hints(cls)
        given: dict[str, object] = {}
        for item in fields(cls):  # type: ignore[arg-type]
            here = (*path, item.name)
            if is_dataclass(hints[item.name]):
                given[item.name] = self._build(hints[item.name], here)
            elif ".".join(here) in self.values:
                given[item.name] = self.values[".".join(here)]
        return cls(**given)

    def _validate(self, instance: object, path: tuple[str, ...]) -> Iterator[str]:
        """Ask each section; a sentence that begins with ``key:`` is told where it was set."""
        for said in getattr(instance, "problems", list)():
            name, colon, sentence = said.partition(":")
            key = ".".join((*path, name))
            if colon and key in self.by_key:
                if key not in self.broken:
                    yield f"{self.origins.get(key, key)}:{sentence}"
            else:
                yield said
        for item in fields(instance):  # type: ignore[arg-type]
            value = getattr(instance, item.name)
            if is_dataclass(value):
                yield from self._validate(value, (*path, item.name))
            elif (unit := DURATIONS.get(item.name.rpartition("_")[2])) is not None:
                most = LONGEST_SECONDS / unit
                if value > most:
                    key = ".".join((*path, item.name))
                    yield f"{self.origins.get(key, key)}: {value:g} is above {most:g}, a year"


def from_text(text: str, kind: Any) -> object:
    """Convert what a flag or a variable says. Raises ``ValueError`` with half a sentence."""
    kind, optional = _optional(kind)
    if optional and text == "":
        return None
    if kind is bool:
        if text.lower() not in TRUE | FALSE:
            raise ValueError("is not true or false")
        return text.lower() in TRUE
    if kind in (int, float):
        return _number(text, kind)
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(from_text(part.strip(), inner) for part in text.split(",") if part.strip())
    if typing.get_origin(kind) is dict:
        return dict(_pair(part) for part in text.split(",") if part.strip())
    return _word(text, kind)


def _pair(text: str) -> tuple[str, str]:
    name, equals, said = text.partition("=")
    if not equals:
        raise ValueError("is not NAME=TEXT, or several of them with commas between")
    return name.strip(), said.strip()


def from_yaml(value: object, kind: Any) -> object:
    """Convert what the file says. Raises ``ValueError`` with half a sentence."""
    kind, optional = _optional(kind)
    if value is None and optional:
        return None
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError("is not true or false")
        return value
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("is not a number")
        return _number(value, kind)
    if typing.get_origin(kind) is tuple:
        return _yaml_list(value, typing.get_args(kind)[0])
    if typing.get_origin(kind) is dict:
        return _yaml_mapping(value)
    if not isinstance(value, str):
        raise ValueError("is not text; put it in quotes")
    return _word(value, kind)


def _yaml_list(value: object, inner: Any) -> tuple[object, ...]:
    if isinstance(value, str) and not is_dataclass(inner):
        return tuple(typing.cast(tuple[object, ...], from_text(value, tuple[inner, ...])))
    if not isinstance(value, list):
        raise ValueError("is not a list")
    if is_dataclass(inner):
        return tuple(_yaml_record(entry, inner) for entry in value)
    return tuple(from_yaml(entry, inner) for entry in value)


def _yaml_mapping(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("is not a mapping of names to texts")
    if not all(isinstance(text, str) for member in value.items() for text in member):
        raise ValueError("should map names to texts; put them in quotes")
    return value


def _yaml_record(entry: object, cls: Any) -> object:
    """Build one section of a list of sections; its problems are told as one."""
    if not isinstance(entry, dict):
        raise ValueError("should hold mappings of keys to values")
    loader = _Loader(tuple(options(cls)), "")
    loader._read_section("", entry, ())
    try:
        made = loader._build(cls, ())
    except TypeError as error:
        missing = str(error).partition(": ")[2]
        raise ValueError(f"lacks {missing}") from None
    loader.problems += loader._validate(made, ())
    if loader.problems:
        raise ValueError("; ".join(p.removeprefix(": ") for p in loader.problems))
    return made


def _optional(kind: Any) -> tuple[Any, bool]:
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        inner = [k for k in typing.get_args(kind) if k is not type(None)]
        return inner[0], True
    return kind, False


def _number(value: str | int | float, kind: Any) -> int | float:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError("is not a number") from None
    if not math.isfinite(number):
        raise ValueError("is not a finite number")
    if kind is float:
        return number
    if not number.is_integer():
        raise ValueError("is not a whole number")
    try:
        return int(value)
    except ValueError:  # such as "1e5"
        return int(number)


def _word(text: str, kind: Any) -> object:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"is none of {', '.join(kind)}") from None
    return Path(text) if kind is Path else text


def printable(value: object, how: Callable[[object], str]) -> str:
    """Return a value as text; Python refuses to write very long numbers."""
    try:
        return how(value)
    except ValueError:
        return "a very long number"


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""


def _default(item: Field[Any]) -> object:
    if item.default is not MISSING:
        return item.default
    return item.default_factory() if item.default_factory is not MISSING else None


def _show(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(_show(v) for v in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def manual(
    table: Sequence[Option],
    prog: str,
    prefix: str,
    description: str = "",
    examples: Sequence[str] = (),
) -> str:
    """Return the text of ``--help``."""
    import textwrap

    lines = [f"usage: {prog} [--config FILE] [options]", ""]
    if description:
        lines += [*textwrap.wrap(description, 78), ""]
    rows = [("--config FILE", f"YAML file with settings [{prefix}_CONFIG]")]
    for row in table:
        if row.flag:
            value = "" if row.type is bool else " " + row.path[-1].rpartition("_")[2].upper()
            default = f" (default: {row.default})" if row.default else ""
            rows.append((row.flag + value, f"{row.help}{default} [{row.variable(prefix)}]"))
    rows += [("--help", "Show this and leave."), ("--version", "Show the version and leave.")]
    lines.append("options:")
    for flag, text in rows:
        lines += [
            f"  {flag}",
            *textwrap.wrap(
                text,
                78,
                initial_indent=" " * 6,
                subsequent_indent=" " * 6,
                break_long_words=False,
                break_on_hyphens=False,
            ),
        ]
    if examples:
        lines += ["", "examples:", *(f"  {example}" for example in examples)]
    return "\n".join(lines)


def documentation(cls: type, prefix: str = "WATTSHED") -> str:
    """Return the settings as a Markdown table, one row per option."""
    lines = [
        "| key | flag | environment | default | meaning |",
        "|---|---|---|---|---|",
    ]
    for row in options(cls):
        cells = (row.key, row.flag, row.variable(prefix), row.default)
        shown = " | ".join(f"`{c}`" if c else "" for c in cells)
        lines.append(f"| {shown} | {row.help.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"

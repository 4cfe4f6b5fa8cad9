"""The YAML file that says who holds which device: a list of entries, checked as a whole.

```yaml
- device: gpu0                    # a device's key or name; * and ? stand for anything
  workload: {name: chat, team: search, kind: inference, model: llama-3.1-8b}
  share: 0.5                      # without one, an equal part of what the others leave
- device: GPU-5f3c*
  unit: train.service             # or container: <id>, slurm: <job>, pod: <namespace>/<name>
  workload: {project: forecast}   # what it is called, beside what is known of it
  from: 2026-03-01T08:00:00Z
  until: 2026-04-01T00:00:00Z
```
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import NOT_YAML

from . import Ref

HOLDERS = ("pod", "container", "slurm", "unit")
KEYS = ("device", "workload", "share", "from", "until", *HOLDERS)
MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One holder of one or more devices, during [from_ms, until_ms); None is open."""

    device: str
    holder: Ref
    share: float | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    from_ms: int | None = None
    until_ms: int | None = None

    def holds_at(self, now_ms: int) -> bool:
        begun = self.from_ms is None or self.from_ms <= now_ms
        return begun and (self.until_ms is None or now_ms < self.until_ms)


def load(file: Path) -> tuple[Entry, ...]:
    """Read the file.

    Raises:
        ConfigError: with every problem of it, each one sentence.
    """
    problems: list[str] = []
    entries: list[Entry] = []
    for number, item in enumerate(_items(file), 1):
        draft = _Draft(f"{file}: entry {number}", item, problems)
        before = len(problems)
        entry = draft.entry()
        if len(problems) == before:
            entries.append(entry)
    problems += (f"{file}: {problem}" for problem in _contradictions(entries))
    if problems:
        raise ConfigError(problems)
    return tuple(entries)


def _items(file: Path) -> list[object]:
    # It takes a megabyte, and only where there is such a file.
    import yaml

    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ConfigError([f"{file}: is larger than {MOST_BYTES} bytes"])
        said = yaml.safe_load(content)
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from None
    except (yaml.YAMLError, *NOT_YAML) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise ConfigError([f"{file}: is not YAML{line}"]) from None
    if said is None:
        return []
    if not isinstance(said, list):
        raise ConfigError([f"{file}: is not a list of entries"])
    return said


def _contradictions(entries: list[Entry]) -> Iterator[str]:
    told: dict[Ref, Mapping[str, str]] = {}
    for entry in entries:
        known = told.setdefault(entry.holder, entry.fields)
        if entry.holder.startswith("static:") and known != entry.fields:
            yield f"workload {entry.fields['name']!r} is described in two ways"


class _Draft:
    """One entry as it is written; what is wrong goes to ``problems``."""

    def __init__(self, where: str, item: object, problems: list[str]) -> None:
        self._where = where
        self._problems = problems
        self._said: dict[object, object] = {}
        if isinstance(item, dict):
            self._said = item
        else:
            self._wrong("is not a mapping of keys to values")

    def entry(self) -> Entry:
        for key in self._said:
            if key not in KEYS:
                self._wrong(f"{key!r} is no key; there are {', '.join(KEYS)}")
        device, fields = self._text("device"), self._fields()
        if not device and self._said:
            self._wrong("device: is missing")
        start, end = self._time("from"), self._time("until")
        if start is not None and end is not None and end <= start:
            self._wrong("until: is not after from")
        return Entry(device, self._holder(fields), self._share(), fields, start, end)

    def _wrong(self, said: str) -> None:
        self._problems.append(f"{self._where}: {said}")

    def _text(self, key: str) -> str:
        value = self._said.get(key)
        if value is None:
            return ""
        if not isinstance(value, str) or not value or not value.isprintable():
            self._wrong(f"{key}: is not a text of printable letters; put it in quotes")
            return ""
        return value

    def _holder(self, fields: Mapping[str, str]) -> Ref:
        named = [key for key in HOLDERS if key in self._said]
        if len(named) > 1:
            self._wrong(f"{' and '.join(named)}: only one can hold it")
        elif named:
            value = self._said[named[0]]
            job = named[0] == "slurm" and isinstance(value, int) and not isinstance(value, bool)
            return f"{named[0]}:{value if job else self._text(named[0])}"
        elif "name" not in fields and self._said:
            self._wrong(f"workload.name: is missing, and so are {', '.join(HOLDERS)}")
        return f"static:{fields.get('name', '')}"

    def _fields(self) -> dict[str, str]:
        # Only here, because the table is data of the contract.
        from wattshed_exporter.semconv import WORKLOAD_ATTRIBUTES

        known = [a.name for a in WORKLOAD_ATTRIBUTES if a.name != "key"]
        said = self._said.get("workload")
        if said is not None and not isinstance(said, dict):
            self._wrong("workload: is not a mapping of fields to texts")
            return {}
        found: dict[str, str] = {}
        for name, value in (said or {}).items():
            if name not in known:
                self._wrong(f"workload.{name}: is no field; there are {', '.join(known)}")
            elif not isinstance(value, str) or not value.isprintable():
                self._wrong(f"workload.{name}: is not a printable text; put it in quotes")
            else:
                found[name] = value
        return found

    def _share(self) -> float | None:
        value = self._said.get("share")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            self._wrong("share: is not a number above 0 and at most 1")
            return None
        return float(value)

    def _time(self, key: str) -> int | None:
        value = self._said.get(key)
        if value is None:
            return None
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        try:
            at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
            if at.tzinfo is None:
                at = at.replace(tzinfo=UTC)
            return round(at.timestamp() * 1000)
        except (ValueError, OverflowError):
            self._wrong(f"{key}: is not a time such as 2026-03-01T08:00:00Z")
            return None

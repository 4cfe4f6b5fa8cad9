"""An entry of the file that is read key by key, and what is wrong with it, all of it at once.

Each method returns what stands under a key, or something of the right type beside a problem that is
noted; nobody uses it then, because the whole is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from wattshed_exporter.errors import ConfigError

from . import length

T = TypeVar("T")


class Problems:
    """Problems of one file, each a sentence."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, sentence: str) -> None:
        self._found.append(sentence)

    def check(self) -> None:
        """Raise ConfigError with all of them, if there are any."""
        if self._found:
            raise ConfigError(self._found)


class Entry:
    """A mapping of the file; ``close`` complains of every key that nobody asked for."""

    def __init__(self, where: str, content: object, problems: Problems, name: str = "") -> None:
        self.name = name
        self._where = where
        self._problems = problems
        self._asked: set[str] = set()
        self._content: Mapping[Any, Any] = {}
        if isinstance(content, Mapping):
            self._content = content
        else:
            problems.add(f"{where} is no mapping")

    def problem(self, key: str, text: str) -> None:
        """Note that what stands under ``key`` is wrong."""
        self._problems.add(f"{self._where}: {key} {text}")

    def has(self, key: str) -> bool:
        return key in self._content

    def entries(self, key: str, names: re.Pattern[str], like: str) -> Iterator[Entry]:
        """Yield the entries of a mapping, each by a name that fits."""
        content = self._asked_for(key)
        if not isinstance(content, Mapping) or not content:
            self.problem(key, "must be a mapping with an entry at least")
            return
        for name, inner in content.items():
            if not isinstance(name, str) or not names.fullmatch(name):
                self.problem(key, f"has {name!r}, which is not {like}")
            yield Entry(f"{key}.{name}", inner, self._problems, str(name))

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text that is not empty, ``default`` where the key is not there."""
        if default is not None and not self.has(key):
            return default
        content = self._asked_for(key)
        if isinstance(content, str) and content.strip():
            return content.strip()
        self.problem(key, "must be a text")
        return ""

    def number(self, key: str) -> float:
        content = self._asked_for(key)
        is_number = isinstance(content, int | float) and not isinstance(content, bool)
        if is_number and math.isfinite(content):
            return float(content)
        self.problem(key, "must be a number")
        return 0.0

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false, ``default`` where the key is not there."""
        content = self._asked_for(key) if self.has(key) else default
        if isinstance(content, bool):
            return content
        self.problem(key, "must be true or false")
        return default

    def seconds(self, key: str) -> int:
        """Return a length such as 30m in seconds."""
        try:
            return length.seconds(str(self._asked_for(key)))
        except ValueError as error:
            self.problem(key, f"{error}")
            return 0

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list of texts, each once."""
        content = self._asked_for(key)
        if not isinstance(content, list) or not all(isinstance(each, str) for each in content):
            self.problem(key, "must be a list of texts")
            return ()
        if len(set(content)) < len(content):
            self.problem(key, "names something twice")
        return tuple(content)

    def mapping(self, key: str) -> dict[str, str]:
        """Return texts by text; empty where the key is not there."""
        if not self.has(key):
            return {}
        content = self._asked_for(key)
        if isinstance(content, Mapping) and all(
            isinstance(each, str) for each in (*content, *content.values())
        ):
            return dict(content)
        self.problem(key, "must map texts to texts")
        return {}

    def one_of(self, key: str, choices: Mapping[str, T]) -> T | None:
        """Return the choice that is named."""
        content = self._asked_for(key)
        found = choices.get(content) if isinstance(content, str) else None
        if found is None:
            self.problem(key, f"must be one of {', '.join(choices)}, not {content!r}")
        return found

    def close(self) -> None:
        """Note the keys that nobody asked for."""
        for key in self._content:
            if key not in self._asked:
                self.problem(str(key), "is not known")

    def _asked_for(self, key: str) -> Any:
        self._asked.add(key)
        return self._content.get(key)

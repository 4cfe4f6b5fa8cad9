"""Bodies that can never be taken, kept in a bounded folder with the reason.

A body is a file ``ID.body`` beside ``ID.json``, which says when it came, from whom, and why it was
refused. The ID is made of the receiver and the body, so what comes again and again is one letter
that counts. Beyond the bounds the oldest are dropped. Nothing here can fail a request: a folder
that cannot be written is a result that is counted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from wattshed_collector.errors import InvalidInput

log = logging.getLogger(__name__)

ID = re.compile(r"[0-9a-f]{16}")
MOST_TEXT = 1000
"""Characters of a reason or a name that are kept."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What is known of a body beside its bytes; ``status`` is what the sender was answered."""

    receiver: str
    path: str
    sender: str
    status: int
    reason: str
    message: str
    content_type: str = ""
    content_encoding: str = ""
    id: str = ""
    size: int = 0
    """Bytes, as sent."""
    first: float = 0.0
    last: float = 0.0
    """Unix seconds."""
    times: int = 0


NAMES = tuple(field.name for field in fields(Letter))


class DeadLetters:
    """The folder. Bounds are of the bodies' bytes and of their number."""

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        max_letters: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_letters = max_letters
        self._now = now
        self._lock = threading.Lock()
        self._warned = False

    def keep(self, letter: Letter, body: bytes) -> dict[str, int]:
        """Keep a body and return what was done, by result: kept, again, dropped, failed, too_large.

        Blocks for a few file operations; may be called from any thread.
        """
        if len(body) > self._max_bytes:
            return {"too_large": 1}
        try:
            with self._lock:
                result = self._write(letter, body)
                return {result: 1, **self._trim()}
        except OSError as error:
            if not self._warned:
                log.warning("cannot keep a refused body in %s: %s", self._folder, error)
            self._warned = True
            return {"failed": 1}

    def list(self) -> list[Letter]:
        """Return what is kept, the oldest first."""
        found = (self._letter(file) for file in self._folder.glob("*.json"))
        return sorted((letter for letter in found if letter), key=lambda said: (said.last, said.id))

    def get(self, letter_id: str) -> tuple[Letter, bytes]:
        """Return one letter and its body; raises InvalidInput where there is none of that ID."""
        letter = self._letter(self._folder / f"{_checked(letter_id)}.json")
        if letter is None:
            raise InvalidInput(f"there is no dead letter {letter_id} in {self._folder}", "letter")
        return letter, self._body(letter.id).read_bytes()

    def drop(self, letter_id: str) -> None:
        """Forget one letter; raises InvalidInput where there is none of that ID."""
        try:
            (self._folder / f"{_checked(letter_id)}.json").unlink()
        except FileNotFoundError:
            raise InvalidInput(
                f"there is no dead letter {letter_id} in {self._folder}", "letter"
            ) from None
        self._body(letter_id).unlink(missing_ok=True)

    def _write(self, letter: Letter, body: bytes) -> str:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = hashlib.sha256(letter.receiver.encode() + b"\0" + body).hexdigest()[:16]
        before = self._letter(self._folder / f"{told}.json")
        now = self._now()
        said = {
            **{name: _short(value) for name, value in asdict(letter).items()},
            "id": told,
            "size": len(body),
            "first": now if before is None else before.first,
            "last": now,
            "times": 1 if before is None else before.times + 1,
        }
        if before is None:
            _replace(self._body(told), body)
        # Last, because what has no description is no letter.
        _replace(self._folder / f"{told}.json", json.dumps(said).encode() + b"\n")
        return "kept" if before is None else "again"

    def _trim(self) -> dict[str, int]:
        """Drop the oldest beyond the bounds, and what a crash left behind."""
        files = {entry.name: entry.stat() for entry in os.scandir(self._folder)}
        letters = sorted(
            (at.st_mtime_ns, name[:-5]) for name, at in files.items() if name.endswith(".json")
        )
        sizes = {name[:-5]: at.st_size for name, at in files.items() if name.endswith(".body")}
        held, total = {told for _, told in letters}, sum(sizes.values())
        for name in files:
            if name.endswith(".new") or (name.endswith(".body") and name[:-5] not in held):
                (self._folder / name).unlink(missing_ok=True)
        beyond = 0
        while total > self._max_bytes or len(letters) - beyond > self._max_letters:
            if beyond == len(letters):
                break
            _, oldest = letters[beyond]
            total -= sizes.get(oldest, 0)
            beyond += 1
            with suppress(InvalidInput):
                self.drop(oldest)
        return {"dropped": beyond} if beyond else {}

    def _letter(self, file: Path) -> Letter | None:
        try:
            said = json.loads(file.read_bytes())
            letter = Letter(**{name: said[name] for name in NAMES})
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return letter if letter.id == file.stem and self._body(letter.id).exists() else None

    def _body(self, letter_id: str) -> Path:
        return self._folder / f"{letter_id}.body"


def _replace(file: Path, content: bytes) -> None:
    new = file.with_name(file.name + ".new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    new.replace(file)


def _checked(letter_id: str) -> str:
    if not ID.fullmatch(letter_id):
        raise InvalidInput(f"{letter_id!r} is no ID such as 0123456789abcdef", "letter")
    return letter_id


def _short(value: object) -> object:
    return value[:MOST_TEXT] if isinstance(value, str) else value

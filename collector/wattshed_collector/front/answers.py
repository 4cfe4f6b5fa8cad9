"""The bytes of answers, with the headers that every answer of the collector has."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus

from wattshed_collector.receivers.answer import Answer


class Answers:
    """Writes answers; those that all senders get are made once a second.

    ``protection`` are the headers of each, ``now`` gives Unix seconds for Date.
    """

    def __init__(self, protection: Mapping[str, str], now: Callable[[], float] = time.time) -> None:
        self._protection = "".join(f"{name}: {value}\r\n" for name, value in protection.items())
        self._now = now
        self._second = 0
        self._date = ""
        self._made: dict[tuple[int, str], bytes] = {}
        """Of answers without a body and headers of their own."""

    def written(self, answer: Answer, *, closes: bool = False) -> bytes:
        """Return a whole answer; ``closes`` says that the connection ends with it."""
        second = int(self._now())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True)
            self._made.clear()
        if answer.body or answer.headers or closes:
            return self._whole(answer, closes=closes)
        key = answer.status, answer.content_type
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._whole(answer, closes=False)
        return made

    def _whole(self, answer: Answer, *, closes: bool) -> bytes:
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        lines += [f"Content-Type: {answer.content_type}", f"Content-Length: {len(answer.body)}"]
        lines += [f"Date: {self._date}", *(["Connection: close"] if closes else [])]
        head = "\r\n".join(lines) + "\r\n" + self._protection + "\r\n"
        return head.encode("latin-1") + answer.body

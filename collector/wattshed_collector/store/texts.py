"""Texts as FORMAT Native has them: their length as a varint, then UTF-8."""

from __future__ import annotations


def encoded(text: str) -> bytes:
    """Return a text's bytes. Raises UnicodeEncodeError, AttributeError where it is none."""
    raw = text.encode()
    return varint(len(raw)) + raw


def plain(native: bytes) -> str:
    """Return the text of ``encoded`` bytes."""
    at = 0
    while native[at] > 127:
        at += 1
    return native[at + 1 :].decode()


def varint(number: int) -> bytes:
    if number < 128:
        return bytes((number,))
    said = bytearray()
    while number > 127:
        said.append(number & 127 | 128)
        number >>= 7
    said.append(number)
    return bytes(said)

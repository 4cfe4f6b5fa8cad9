"""Read a request body within limits: nothing is buffered beyond them, compressed or not."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress

import zstandard
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from wattshed_collector.errors import InvalidInput

CHUNK = 256 * 1024
GZIP_OR_ZLIB = 47
"""32 + 15: told apart by the header."""
INFLATE_STEP = 16 * 1024
ZSTD_STEP = 512
"""Four bytes can name a block of 128 KiB, so a step makes at most 16 MiB."""


class TooLarge(InvalidInput):
    """The body is beyond the limit."""


class UnknownEncoding(InvalidInput):
    """The content encoding is none that we read."""


def _unbounded(size: int) -> None:
    """Let a body grow up to its limit."""


async def read(
    request: web.Request, limit: int, grown: Callable[[int], object] = _unbounded
) -> bytes:
    """Return the body as sent; raises TooLarge before more than ``limit`` bytes are held.

    ``grown`` is told how many are held whenever more came, and may raise: a body in chunks does
    not say beforehand how long it is.
    """
    if (request.content_length or 0) > limit:
        raise TooLarge(_too_large(request.content_length or 0, limit), "body_too_large")
    body = bytearray()
    try:
        async for chunk in request.content.iter_chunked(CHUNK):
            body += chunk
            if len(body) > limit:
                raise TooLarge(_too_large(len(body), limit), "body_too_large")
            grown(len(body))
    except (ConnectionError, web.RequestPayloadError, HttpProcessingError) as error:
        raise InvalidInput(f"the body broke off: {error}", "broken_off") from error
    return bytes(body)


async def unpacked(request: web.Request, limit: int) -> bytes:
    """Return the body decompressed; what is beyond ``limit``, as sent or unpacked, is TooLarge."""
    sent = await read(request, limit) if request.body_exists else b""
    return decode(sent, request.headers.get("Content-Encoding", ""), limit)


def decode(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo gzip, deflate or zstd; raises TooLarge before more than ``limit`` bytes are made."""
    match encoding.strip().lower():
        case "" | "identity":
            if len(body) > limit:
                raise TooLarge(_too_large(len(body), limit, decoded=True), "decoded_too_large")
            return body
        case "gzip" | "deflate":
            return _inflate(body, limit)
        case "zstd":
            return _unzstd(body, limit)
        case _:
            raise UnknownEncoding(
                f"content encoding {encoding!r} is not read here; send gzip, zstd or none",
                "unknown_encoding",
            )


def _inflate(body: bytes, limit: int) -> bytes:
    if len(body) <= INFLATE_STEP:
        inflater = zlib.decompressobj(wbits=GZIP_OR_ZLIB)
        with suppress(zlib.error):
            found = inflater.decompress(body, limit + 1)
            if inflater.eof and not inflater.unused_data and len(found) <= limit:
                return found
    return _inflate_steps(body, limit)


def _inflate_steps(body: bytes, limit: int) -> bytes:
    decoded = bytearray()
    inflater = zlib.decompressobj(wbits=GZIP_OR_ZLIB)
    try:
        # In small steps, because what follows a member is copied: of a body that is made of
        # empty ones that would be the whole of it each time.
        for at in range(0, len(body), INFLATE_STEP):
            rest = body[at : at + INFLATE_STEP]
            while rest:
                if inflater.eof:  # a gzip file may have several members
                    inflater = zlib.decompressobj(wbits=GZIP_OR_ZLIB)
                decoded += inflater.decompress(rest, limit + 1 - len(decoded))
                rest = inflater.unused_data
                if len(decoded) > limit:
                    raise TooLarge(_too_large(limit + 1, limit, decoded=True), "decoded_too_large")
    except zlib.error as error:
        raise InvalidInput(f"the body is not valid gzip: {error}", "malformed") from error
    if not inflater.eof:
        raise InvalidInput("the gzip body ends early", "malformed")
    return bytes(decoded)


def _unzstd(body: bytes, limit: int) -> bytes:
    decoded = bytearray()
    decompressor = zstandard.ZstdDecompressor(max_window_size=2**27)
    inflater = decompressor.decompressobj()
    try:
        # In small steps, because the decompressor cannot be told how much it may make of one.
        for at in range(0, len(body), ZSTD_STEP):
            rest = body[at : at + ZSTD_STEP]
            while rest:
                if inflater.eof:  # a body may have several frames
                    inflater = decompressor.decompressobj()
                decoded += inflater.decompress(rest)
                rest = inflater.unused_data
                if len(decoded) > limit:
                    raise TooLarge(_too_large(limit + 1, limit, decoded=True), "decoded_too_large")
    except zstandard.ZstdError as error:
        raise InvalidInput(f"the body is not valid zstd: {error}", "malformed") from error
    if not inflater.eof:
        raise InvalidInput("the zstd body ends early", "malformed")
    return bytes(decoded)


def _too_large(size: int, limit: int, *, decoded: bool = False) -> str:
    what = "decompressed body" if decoded else "body"
    return f"the {what} has {size} bytes or more, the limit is {limit}; send smaller batches"

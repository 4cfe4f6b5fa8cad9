"""The transport of providers: aiohttp, within limits, and never with a key in a message."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp

from .providers import ProviderError, Refused

TIMEOUT_SECONDS = 20.0
MOST_BYTES = 16 * 2**20
REFUSALS = frozenset({401, 402, 403})


class Asking:
    """One session for all providers. ``get`` is a ``providers.Get``."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, headers: Mapping[str, str]) -> bytes:
        """Return the body of a 200. Raises ProviderError; a redirect is none of ours."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=True)
        place = f"{urlsplit(url).netloc}{urlsplit(url).path}"
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as answer:
                body = await _read(answer)
                if answer.status != 200:
                    kind = Refused if answer.status in REFUSALS else ProviderError
                    raise kind(f"{place} answers {answer.status} {answer.reason}")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            said = "does not answer in time" if isinstance(error, asyncio.TimeoutError) else error
            raise ProviderError(f"{place}: {said}") from error
        except ValueError:  # a key of two lines; the message may show it
            raise ProviderError(f"{place}: its key cannot be sent in a header") from None
        if len(body) > MOST_BYTES:
            raise ProviderError(f"{place}: the answer has more than {MOST_BYTES} bytes")
        return body

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(2**16):
        body += chunk
        if len(body) > MOST_BYTES:
            break
    return bytes(body)

"""What the gate looks at of a request, however that was read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """One request before its body; a header that was not sent is ""."""

    method: str
    path: str
    address: str
    """Of who asks, "" where that is not known."""
    host: str = ""
    authorization: str = ""
    names: tuple[str, ...] = ()
    """Of a verified client certificate, as ``tls.names`` gives them."""
    origin: str = ""
    site: str = ""
    """The header Sec-Fetch-Site."""
    url_length: int = 0

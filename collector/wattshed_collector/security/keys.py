"""Where the gate leaves who asks, for what is behind it."""

from __future__ import annotations

from aiohttp import web

from .rules import Identity
from .tenancy import Tenancy

IDENTITY = web.RequestKey("identity", Identity)
TENANCY = web.AppKey("tenancy", Tenancy)

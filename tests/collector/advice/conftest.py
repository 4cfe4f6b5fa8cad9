"""The demo fleet in a store."""

from __future__ import annotations

from tests.fixtures.fleets import fleet, fleet_folder

__all__ = ["fleet", "fleet_folder"]

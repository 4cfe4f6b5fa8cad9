"""Every panel of every board answers: on the demo fleet, on nothing, and to hostile values."""

from __future__ import annotations

from tests.fixtures.fleet_store import Fleet


def test_the_fleet_is_charged(fleet: Fleet) -> None:
    ((first, last, joules),) = fleet.client.rows(
        "SELECT toUnixTimestamp(min(t)), toUnixTimestamp(max(t)), sum(joules) FROM v_energy_1m"
    )
    assert first < fleet.end - 86_400
    assert fleet.end - 120 <= last <= fleet.end
    assert joules > 1e9

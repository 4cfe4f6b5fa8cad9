"""Bring a Grafana to what it is to have, and say what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from wattshed_dashboards import provisioning

from .compare import Change, change
from .server import Grafana
from .wanted import Wanted

Step = tuple[Change, Callable[[], None]]
"""What is to be done, and doing it."""


def steps(grafana: Grafana, wanted: Wanted, *, rules: bool, editable: bool) -> Iterator[Step]:
    """Yield each thing as it is, in the order in which they need each other.

    Raises StoreError's kin of ``Grafana`` when one is looked at or done.
    """
    folder = change("folder", provisioning.FOLDER, {}, grafana.folder())
    yield folder, grafana.put_folder
    if (source := wanted.datasource) is not None:
        public = {key: value for key, value in source.items() if key != "secureJsonData"}
        there = grafana.datasource(source["uid"])
        found = change("data source", source["name"], public, there)
        has_to_tell = "secureJsonData" in source and not found.is_needed
        # A Grafana never says what a secret is, so one that is given is always told again.
        state = Change(found.kind, found.name, "differs", ("password",)) if has_to_tell else found
        is_there = there is not None
        yield state, partial(grafana.put_datasource, source, is_there=is_there)
    for uid, board in wanted.boards.items():
        found = change("board", uid, board, grafana.board(uid))
        yield found, partial(grafana.put_board, board)
    for name, group in wanted.groups.items() if rules else ():
        found = change("rules", name, group, grafana.group(name))
        yield found, partial(grafana.put_group, name, group, editable=editable)

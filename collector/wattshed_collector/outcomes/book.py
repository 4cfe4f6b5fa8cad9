"""Which rules read a metric, by any name that it may have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .engines import AUTO, BY_NAME, OFF, SERVERS
from .rules import TOTAL, Rule, Server, Term

PROCESS_START = "process_start_time_seconds"
CREATED = "_created"


class Use(NamedTuple):
    """A metric's part in the rules of a server. ``order`` is that of its spelling among others."""

    server: Server
    metric: str
    """The name that terms have for it; "" for a time."""
    order: int = 0


class Book:
    """Rules that are in force together.

    ``counters`` are the names of what is counted, ``names`` those and of what says since when.
    """

    def __init__(self, servers: Iterable[Server]) -> None:
        self.servers = tuple(servers)
        self._uses: dict[str, list[Use]] = {}
        self._created: dict[str, list[Use]] = {}
        self._others = tuple(prefix for server in self.servers for prefix in server.prefixes)
        for server in self.servers:
            for term in _terms(server):
                self._add(server, term)
        told = {PROCESS_START} if any(server.tells_start for server in self.servers) else set()
        self.counters = frozenset(self._uses)
        self.names = self.counters | self._created.keys() | told

    def __bool__(self) -> bool:
        return bool(self.servers)

    def uses(self, metric: str) -> list[Use]:
        return self._uses.get(metric, [])

    def creations(self, metric: str) -> list[Use]:
        """Return the counters whose beginning a metric tells."""
        return self._created.get(metric, [])

    def knows(self, metric: str) -> bool:
        """Return whether a metric is of one of the servers, whatever it says."""
        return metric.startswith(self._others) if self._others else False

    def _add(self, server: Server, term: Term) -> None:
        for order, name in enumerate(server.spellings(term)):
            uses = self._uses.setdefault(name, [])
            if all((use.server, use.metric) != (server, term.name) for use in uses):
                uses.append(Use(server, term.name, order))
            created = name.removesuffix(TOTAL) + CREATED
            known = self._created.setdefault(created, [])
            if all((use.server, use.metric) != (server, term.name) for use in known):
                known.append(Use(server, term.name))


def _terms(server: Server) -> list[Term]:
    found = [term for rule in server.rules for choice in rule.choices for term in choice.terms]
    return found + [Term(term.zero_beside) for term in found if term.zero_beside]


def named(names: Iterable[str], own: Iterable[Server] = ()) -> Book:
    """Return the rules of servers by name (``engines.CHOICES``) and an operator's own."""
    told = [name for name in names if name != OFF]
    servers = {server.name: server for server in SERVERS if AUTO in told and server.auto}
    servers.update((name, BY_NAME[name]) for name in told if name != AUTO)
    return Book((*servers.values(), *own))


def kinds(rules: Iterable[Rule]) -> list[str]:
    """Return the kinds of outcome that rules make, each once."""
    return list(dict.fromkeys(rule.kind for rule in rules))


AUTOMATIC = named((AUTO,))
"""What is read where nobody says otherwise."""

"""How many connections a server has, and how long each may take: the bounds, and who counts.

A connection that has no request under way, be it new, idle or slow to say what it wants, makes room
for a new one when there is none left: so clients that only hold connections keep nobody out. It
knows no HTTP.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from telemetry.names import Cut

TURNED_AWAY: Final = 64
"""Connections over the limit that are answered at the same time; more are cut without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The bounds of connections; all times are seconds, more than 0.

    `head_s` is for a request's head, from its connection or from its first byte on; `body_s` for
    its body, once the head is there; `keep_alive_s` for the silence between two requests;
    `unread_s` for an answer whose client takes not one byte of it.
    """

    connections: int = 10_000
    head_s: float = 10.0
    body_s: float = 30.0
    keep_alive_s: int = 5
    unread_s: float = 60.0


class ConnectionCounters(Protocol):
    """What connections count; `telemetry.metrics.Metrics` and a no-op both fit."""

    def connection_opened(self) -> None:
        """A connection was accepted."""
        ...

    def connection_closed(self) -> None:
        """It is gone."""
        ...

    def connection_cut(self, why: Cut) -> None:
        """The server refused what came on a connection, or closed it, for a bound of its own."""
        ...


class NoConnectionCounters:
    """Counts nothing."""

    def connection_opened(self) -> None:
        """Nothing."""

    def connection_closed(self) -> None:
        """Nothing."""

    def connection_cut(self, why: Cut) -> None:
        """Nothing."""


class Guest(Protocol):
    """A connection, as `Room` knows it."""

    def give_way(self) -> None:
        """Close: there is one who needs the place."""
        ...


class Room:
    """The places for connections of one server; used on its loop's thread only."""

    __slots__ = ("_inside", "_waiting", "counters", "limits")

    def __init__(
        self,
        limits: ConnectionLimits | None = None,
        counters: ConnectionCounters | None = None,
    ) -> None:
        self.limits = limits or ConnectionLimits()
        self.counters = counters or NoConnectionCounters()
        self._inside: set[Guest] = set()
        self._waiting: dict[Guest, None] = {}  # in order: who waits longest goes first

    def enter(self, guest: Guest) -> bool:
        """Take a place for `guest`, who has no request yet; False if there is none to be had."""
        if len(self._inside) >= self.limits.connections and not self._made():
            self.counters.connection_cut(Cut.TOO_MANY)
            return False
        self._inside.add(guest)
        self._waiting[guest] = None
        self.counters.connection_opened()
        return True

    def busy(self, guest: Guest) -> None:
        """`guest` has a request under way."""
        self._waiting.pop(guest, None)

    def idle(self, guest: Guest) -> None:
        """`guest` has none any more."""
        if guest in self._inside:
            self._waiting[guest] = None

    def leave(self, guest: Guest) -> None:
        """`guest` is gone; may be called again."""
        if guest in self._inside:
            self._inside.remove(guest)
            self._waiting.pop(guest, None)
            self.counters.connection_closed()

    def is_crowded(self, connections: int) -> bool:
        """Whether of so many connections too many are here without a place."""
        return connections - len(self._inside) > TURNED_AWAY

    def _made(self) -> bool:
        longest = next(iter(self._waiting), None)
        if longest is None:
            return False
        self.counters.connection_cut(Cut.MADE_ROOM)
        self.leave(longest)
        longest.give_way()
        return True

"""Both clients through a proxy that cuts connections: nothing is lost, nothing comes twice."""

import random
import re
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.client import (
    DrainingEvent,
    EndEvent,
    NarrationEvent,
    NotFound,
    Patience,
    Reconnect,
    StateEvent,
)
from tests.clients.python.both import Open, sequence
from tests.clients.python.cutting import Plan, cutting
from tests.clients.server import WAIT_S, ServerProcess, serving, until

QUICK = Patience(calls_s=WAIT_S, streams_s=WAIT_S, longest_pause_s=0.01)
"""Comes back at once."""


def at_random(seed: int, *, least: int, most: int) -> Plan:
    """Every connection is cut after `least` to `most` bytes."""
    chance = random.Random(seed)
    return lambda _: chance.randint(least, most)


@pytest.mark.parametrize("seed", range(4))
def test_a_story_is_whole_however_it_is_cut(opened: Open, server: ServerProcess, seed: int) -> None:
    broke: list[Reconnect] = []
    plan = at_random(seed, least=1, most=5000)
    with (
        cutting(server.port, plan) as proxy,
        opened(server.url) as straight,
        opened(proxy.url, patience=QUICK) as client,
    ):
        job = straight.submit("count", {"to": 200, "pause_s": 0.02})
        told = list(client.stream(job, on_reconnect=broke.append))
        expected = list(straight.stream(job))

    assert told == expected
    assert sequence(told) == list(range(1, len(told) + 1))
    assert isinstance(told[-1], EndEvent)
    assert proxy.proxy.cuts >= 10
    assert len(broke) >= 10


@pytest.mark.parametrize("seed", range(2))
def test_what_is_submitted_through_cuts_is_one_job_each(
    opened: Open, server: ServerProcess, seed: int
) -> None:
    tag = f"cut-{uuid4()}"
    with (
        cutting(server.port, at_random(seed, least=1, most=2500)) as proxy,
        opened(server.url) as straight,
        opened(proxy.url, patience=QUICK) as client,
    ):
        ids = [client.submit("talk", tags={tag: "x"}).id for _ in range(20)]
        results = [client.result(each) for each in ids]
        there_are = [each.id for each in straight.list(tag=tag)]

    assert sorted(there_are) == sorted(ids)
    assert results == [{"ok": 1}] * 20
    assert proxy.proxy.cuts >= 10


def test_a_server_that_is_away_for_a_while_is_waited_for(
    opened: Open, server: ServerProcess, gate: Path
) -> None:
    returning = threading.Event()

    def comes_back(broke: Reconnect) -> None:
        if broke.tries == 5:
            proxy.back()
            gate.touch()
            returning.set()

    told: list[Any] = []
    with cutting(server.port) as proxy, opened(proxy.url, patience=QUICK) as client:
        job = client.submit("gated", {"gate": str(gate), "before": 3, "after": 3})
        for event in client.stream(job, on_reconnect=comes_back):
            told.append(event)
            if isinstance(event, NarrationEvent) and event.text == "before 2":
                proxy.away()

    assert returning.is_set()
    assert sequence(told) == list(range(1, len(told) + 1))
    assert isinstance(told[-1], EndEvent)


def test_a_result_is_waited_for_while_the_server_is_away(
    opened: Open, server: ServerProcess, gate: Path
) -> None:
    with cutting(server.port) as proxy, opened(proxy.url, patience=QUICK) as client:
        job = client.submit("gated", {"gate": str(gate)})
        server.reaches(job.id, "running")
        timers = [threading.Timer(0.1, proxy.away), threading.Timer(0.3, proxy.back)]
        timers.append(threading.Timer(0.5, gate.touch))
        for each in timers:
            each.start()

        assert client.result(job) == "opened"


def test_a_stream_is_read_to_its_end_over_a_drain(opened: Open, gate: Path) -> None:
    """The job ends once the client is back: a server that has nothing left to do is gone."""
    told: list[Any] = []
    with serving(drain_s=WAIT_S) as server, opened(server.url, patience=QUICK) as client:
        job = client.submit("gated", {"gate": str(gate), "before": 3})
        for event in client.stream(job):
            told.append(event)
            if isinstance(event, NarrationEvent) and event.text == "before 2":
                server.process.terminate()
            if isinstance(event, DrainingEvent):
                back = threading.Thread(target=open_when_back, args=(server, gate))
                back.start()
        back.join()
        server.process.wait(timeout=WAIT_S)

    assert [each.reason for each in told if isinstance(each, DrainingEvent)] == ["shutdown"]
    assert sequence(told) == list(range(1, len(told)))
    assert isinstance(told[-1], EndEvent)


def open_when_back(server: ServerProcess, gate: Path) -> None:
    answered = re.compile(
        r'^narrator_http_answer_seconds_count{.*route="[^"]*/stream",status="200"} (\S+)$',
        re.MULTILINE,
    )

    def is_back() -> bool:
        found = answered.search(server.client.get("/metrics").text)
        return found is not None and float(found[1]) >= 2

    until(is_back, what="the second stream")
    gate.touch()


def test_a_job_that_a_restart_has_forgotten_is_said_to_be_gone(opened: Open, gate: Path) -> None:
    with (
        serving() as before,
        serving() as after,
        cutting(before.port) as proxy,
        opened(proxy.url, patience=QUICK) as client,
    ):
        job = client.submit("gated", {"gate": str(gate)})
        stream = client.stream(job)
        until(lambda: isinstance(next(stream), StateEvent), what="a state")
        proxy.away()
        proxy.proxy.upstream = after.port
        proxy.back()

        with pytest.raises(NotFound, match="it never was, or it has been forgotten"):
            list(stream)

"""The server process: what it says first, and what each signal does."""

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.cli.bounded import MAX_HEAD_BYTES
from app.cli.server import address_of, listen

ROOT = Path(__file__).parents[2]
WAIT_S = 30

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `tiny.py` in a mode; what is left at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(mode: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("tiny.py")), mode],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def address(process: subprocess.Popen[str]) -> str:
    return line(process).removeprefix("listening on ")


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains_and_ends_with_0(start: Start, number: signal.Signals) -> None:
    process = start("quick")
    address(process)

    process.send_signal(number)
    said, complained = process.communicate(timeout=WAIT_S)

    assert said.splitlines() == ["drain began", "drain ended", "ended"]
    assert (process.returncode, complained) == (0, "")


def test_connections_are_accepted_when_the_first_line_says_so(start: Start) -> None:
    assert get(address(start("quick"))) == "released"


def test_new_connections_are_answered_during_the_drain(start: Start) -> None:
    process = start("slow")
    url = address(process)
    process.send_signal(signal.SIGTERM)
    assert line(process) == "drain began"

    assert get(url + "/release") == "released"
    assert (line(process), process.wait(timeout=WAIT_S)) == ("drain ended", 0)


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_at_once(start: Start, second: signal.Signals, code: int) -> None:
    process = start("slow")
    address(process)
    process.send_signal(signal.SIGTERM)
    assert line(process) == "drain began"

    process.send_signal(second)
    said, _ = process.communicate(timeout=WAIT_S)

    assert (said, process.returncode) == ("aborted\n", code)


def test_a_drain_that_fails_is_logged_and_the_server_still_ends(start: Start) -> None:
    process = start("broken")
    address(process)

    process.send_signal(signal.SIGTERM)
    said, complained = process.communicate(timeout=WAIT_S)

    assert said.splitlines()[-1] == "ended"
    assert "RuntimeError: a defect" in complained
    assert process.returncode == 0


def exchange(url: str, *parts: bytes) -> bytes:
    """What the server answers to raw bytes, until it closes."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as connection:
        received = b""
        try:
            for part in parts:
                connection.sendall(part)
            while chunk := connection.recv(65_536):
                received += chunk
        except ConnectionError:  # it may close before it has read all of a flood
            pass
        return received


def test_an_endless_head_is_cut_off(start: Start) -> None:
    url = address(start("quick"))
    flood = [b"x" * 8192] * (4 * MAX_HEAD_BYTES // 8192)

    received = exchange(url, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Flood: ", *flood)

    assert received == b"" or received.startswith(b"HTTP/1.1 431 ")
    assert get(url) == "released"


def test_a_head_just_over_the_limit_is_a_431(start: Start) -> None:
    url = address(start("quick"))

    received = exchange(
        url, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ", b"x" * MAX_HEAD_BYTES, b"\r\n\r\n"
    )

    assert received.startswith(b"HTTP/1.1 431 ")
    assert b'"status":431' in received


def test_each_request_of_a_connection_has_a_head_of_its_own(start: Start) -> None:
    url = address(start("quick"))
    one = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: %b\r\n\r\n" % (b"x" * 40_000)
    last = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    assert exchange(url, one, one, one, last).count(b"HTTP/1.1 200 OK") == 4


def test_a_port_of_its_own_is_taken_for_port_0() -> None:
    (bound,) = listen("127.0.0.1", 0)
    with bound:
        assert address_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"
        assert bound.getsockname()[1] > 0


def test_all_addresses_of_a_name_have_the_same_port() -> None:
    sockets = listen("localhost", 0)
    try:
        assert len({bound.getsockname()[1] for bound in sockets}) == 1
    finally:
        for bound in sockets:
            bound.close()


def test_an_address_in_use_is_an_error() -> None:
    (first,) = listen("127.0.0.1", 0)
    with first:
        first.listen()
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", first.getsockname()[1])


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(OSError, match=r"known|resol"):
        listen("no-such-host.invalid", 0)

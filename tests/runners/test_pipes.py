"""The pieces between the two processes: frames, the channel, the stop, the process tree."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.runners import frames, tree
from app.engine.runners.channel import Channel, Stop
from app.engine.runners.ending import exception_types, remote_error
from app.engine.runners.output import Printout
from app.handlers.context import JobCancelled, StopToken
from narration.message import NOWHERE
from telemetry.names import DropReason, Kind
from tests.runners.attempts import Attempt, run

SENT = [
    frames.Progressed(1, None, "one"),
    frames.Output(b'"chunk"'),
    frames.Dropped(DropReason.ERROR, 3),
    frames.Result(b"{}"),
]


@given(st.lists(st.integers(0, 200), max_size=20))
def test_frames_arrive_whole_however_the_bytes_are_cut(cuts: list[int]) -> None:
    data = b"".join(map(frames.encode, SENT))
    decoder = frames.Decoder()
    bounds = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    received = [
        frame
        for start, end in itertools.pairwise(bounds)
        for frame in decoder.feed(data[start:end])
    ]

    assert received == SENT


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x03\x91\xa1\x80",  # a tag that is no UTF-8
    ],
)
def test_garbage_is_an_error(garbage: bytes) -> None:
    with pytest.raises(frames.FrameError):
        frames.Decoder().feed(garbage)


def test_a_task_without_a_server_is_an_error() -> None:
    read, write = os.pipe()
    os.close(write)
    with pytest.raises(EOFError):
        frames.read_task(read)
    os.close(read)


def received(descriptor: int) -> list[frames.ChildFrame]:
    """The frames in a pipe whose other end is closed."""
    with os.fdopen(descriptor, "rb") as pipe:
        return frames.Decoder().feed(pipe.read())


def test_threads_do_not_mix_their_frames() -> None:
    read, write = os.pipe()
    channel = Channel(write)
    got: list[frames.ChildFrame] = []
    reader = threading.Thread(target=lambda: got.extend(received(read)))
    reader.start()
    long = b'"' + b"x" * 100_000 + b'"'

    def send() -> None:
        for _ in range(20):
            channel.send(frames.Output(long))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    channel.close()
    os.close(write)
    reader.join()

    assert got == [frames.Output(long)] * 80


def test_what_cannot_be_encoded_is_counted() -> None:
    read, write = os.pipe()
    Channel(write).send(frames.AttemptAttributes({"odd": object()}))
    os.close(write)

    assert received(read) == [frames.Dropped(DropReason.ERROR, 1)]


def test_a_closed_channel_is_silent() -> None:
    read, write = os.pipe()
    channel = Channel(write)
    channel.close()
    channel.send(SENT[0])
    os.close(write)

    assert received(read) == []


def test_a_server_that_has_gone_harms_no_sender() -> None:
    read, write = os.pipe()
    os.close(read)
    channel = Channel(write)
    channel.send(SENT[0])
    channel.send(SENT[1])
    os.close(write)


def test_a_message_told_while_another_is_written_comes_after_it() -> None:
    read, write = os.pipe()

    class Interrupted(Channel):
        """As when a finaliser runs inside a write, and has something to say."""

        def _write(self, data: bytes) -> None:
            if data == frames.encode(SENT[0]):
                self.send(SENT[1])
            super()._write(data)

    Interrupted(write).send(SENT[0])
    os.close(write)

    assert received(read) == SENT[:2]


@pytest.fixture
def silence() -> Iterator[int]:
    """A descriptor that swallows all that is written."""
    with Path(os.devnull).open("wb") as opened:
        yield opened.fileno()


@pytest.fixture
def stop(silence: int) -> tuple[Stop, StopToken, Channel]:
    """A stop, its token and its channel."""
    token, channel = StopToken(), Channel(silence)
    return Stop(token, channel, "enough"), token, channel


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    """Give SIGTERM its old meaning back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_stop_interrupts_a_plain_function_once(stop: tuple[Stop, StopToken, Channel]) -> None:
    caught: list[str] = []

    def handler() -> str:
        try:
            signal.raise_signal(signal.SIGTERM)
        except JobCancelled as cancelled:
            caught.append(cancelled.reason)
        signal.raise_signal(signal.SIGTERM)
        return "went on"

    assert stop[0].interrupting(handler) == "went on"
    assert caught == ["enough"]
    assert stop[1].reason == "enough"


def test_a_stop_that_came_before_the_function_raises_in_its_place(
    stop: tuple[Stop, StopToken, Channel],
) -> None:
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(JobCancelled):
        stop[0].interrupting(lambda: "never run")


def test_a_stop_in_the_middle_of_a_frame_waits_for_its_end() -> None:
    read, write = os.pipe()

    class Interrupted(Channel):
        """A signal arrives inside a write."""

        def _write(self, data: bytes) -> None:
            signal.raise_signal(signal.SIGTERM)
            super()._write(data)

    channel = Interrupted(write)
    stop = Stop(StopToken(), channel, "enough")
    with pytest.raises(JobCancelled):
        stop.interrupting(lambda: channel.send(SENT[0]))
    os.close(write)

    assert received(read) == SENT[:1]


def test_a_stop_after_the_function_raises_nowhere(silence: int) -> None:
    channel = Channel(silence)
    stop = Stop(StopToken(), channel, "enough")
    stop.interrupting(lambda: None)
    signal.raise_signal(signal.SIGTERM)
    channel.send(SENT[0])


def test_descendants_are_found_through_the_generations() -> None:
    script = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', "
        "'import time; print(flush=True); time.sleep(600)'], start_new_session=True); p.wait()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    found = tree.descendants(os.getpid())
    below = tree.descendants(parent.pid)
    tree.kill_tree(parent.pid)
    parent.wait()
    parent.stdout.close()

    assert len(below) == 1
    assert {parent.pid, *below} <= set(found)
    assert tree.descendants(parent.pid) == []


def test_what_carries_a_mark_is_killed_whoever_its_parent_is_and_nothing_else() -> None:
    script = "import time; print(flush=True); time.sleep(600)"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            env={**os.environ, "MARK": mark},
            start_new_session=True,
        )
        for mark in ("one", "two", "one-more")
    ]
    for each in processes:
        assert each.stdout is not None
        each.stdout.readline()  # before its `exec`, its environment is still ours
    with contextlib.ExitStack() as stack:
        for each in processes:
            stack.enter_context(each)
            stack.callback(each.kill)
        assert tree.kill_marked("MARK", {"one", "two", "three"}, within_s=60)

        assert [each.wait() for each in processes[:2]] == [-signal.SIGKILL] * 2
        assert processes[2].poll() is None


def test_who_carries_the_mark_and_kills_spares_himself_and_his_parents() -> None:
    script = (
        "import os, sys; from app.engine.runners import tree\n"
        "if len(sys.argv) > 1: sys.exit(not tree.kill_marked('MARK', {'one'}, within_s=60))\n"
        "sys.exit(os.spawnl(os.P_WAIT, sys.executable, sys.executable, '-c', sys.argv[0], 'x'))"
    )
    script = script.replace("sys.argv[0]", "SCRIPT")
    inner = f"SCRIPT = {script!r}\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", inner],
        check=False,
        env={**os.environ, "MARK": "one", "PYTHONPATH": os.fspath(Path(__file__).parents[2])},
    )

    assert done.returncode == 0


def test_without_a_proc_file_system_nothing_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tree, "_PROC", tmp_path / "none")

    assert tree.descendants(os.getpid()) == []
    assert tree.kill_marked("MARK", {"one"}, within_s=60)


def test_a_group_that_is_gone_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    tree.signal_group(process.pid, signal.SIGKILL)
    tree.kill_tree(process.pid)


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_lines_are_told_whole_whatever_ends_them(ends: bytes) -> None:
    async def test() -> None:
        attempt = Attempt()
        printout = Printout(attempt.scope, Kind.STDOUT, NOWHERE)
        printout.feed(b"one" + ends + b"tw")
        assert attempt.texts == ["one"]
        printout.feed(b"o" + ends + ends + b"\xffthree")
        printout.finish()
        printout.finish()
        assert attempt.texts == ["one", "two", "\N{REPLACEMENT CHARACTER}three"]

    run(test)


def test_a_remote_error_is_of_the_type_that_it_was() -> None:
    error = remote_error(
        module="theirs",
        name="Outer.Inner",
        types=("theirs.Outer.Inner",),
        message="m",
        traceback="",
    )

    assert (type(error).__module__, type(error).__qualname__) == ("theirs", "Outer.Inner")
    assert exception_types(error) == ("theirs.Outer.Inner",)

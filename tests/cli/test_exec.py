"""`narrator exec`: the bare command's manners, and a story and a trace beside it."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.cli.terminal import INTERRUPT, Terminal, environment_of
from tests.cli.terminal import narrator as narrator_command
from tests.clients.server import until
from tests.telemetry.otlp_receiver import Mode, OtlpReceiver

WAIT_S = 60


def executing(*words: str) -> list[str]:
    return narrator_command("exec", *words)


def run(*words: str, given: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        executing(*words),
        input=given,
        capture_output=True,
        check=False,
        timeout=WAIT_S,
        env=environment_of(**variables),
    )


def shell(script: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return run("--", "sh", "-c", script, given=b"", **variables)


# --- the bare command -----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 127, 255])
def test_the_exit_code_is_passed_through(code: int) -> None:
    assert shell(f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_command_that_a_signal_kills_is_128_and_its_number(number: signal.Signals) -> None:
    assert shell(f"kill -{number.value} $$").returncode == 128 + number


def test_what_it_writes_is_passed_on_byte_for_byte_each_to_its_own_stream() -> None:
    done = shell(r"printf 'a\n\n\000\377b\r\nno end'; printf 'warned\n\n' >&2")

    assert done.stdout == b"a\n\n\x00\xffb\r\nno end"
    assert done.stderr == b"warned\n\n"


def test_it_reads_our_standard_input() -> None:
    assert run("--", "cat", given=b"given\n").stdout == b"given\n"


def test_its_options_are_its_own() -> None:
    assert run("echo", "--json", "-n").stdout == b"--json -n\n"


def test_a_command_that_is_not_there_is_127_and_one_that_may_not_run_126(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("nothing")

    gone, refused = run("--", "no-such-command"), run("--", str(plain))

    assert (gone.returncode, refused.returncode) == (127, 126)
    assert gone.stderr == b"narrator: there is no command 'no-such-command'\n"
    assert b"Permission denied" in refused.stderr


def test_nobody_who_reads_ends_the_command_as_it_would_bare() -> None:
    process = subprocess.Popen(
        executing("--", "yes", "y" * 1000),  # lines cost more than bytes
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment_of(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()

    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(WAIT_S) == 128 + signal.SIGPIPE


# --- signals --------------------------------------------------------------------------------------


def started(script: str, ready: Path, *before: str) -> subprocess.Popen[bytes]:
    """A command that has made the file `ready`; `before` are words before ours, such as nohup."""
    process = subprocess.Popen(
        [*before, *executing("--", "sh", "-c", script)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment_of(READY=str(ready)),
    )
    until(ready.exists, what="the command")
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_is_the_commands_to_answer(number: signal.Signals, tmp_path: Path) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo caught; exit 7' {name}; touch $READY; while :; do sleep 0.05; done"
    process = started(script, tmp_path / "ready")

    process.send_signal(number)

    assert process.communicate(timeout=WAIT_S)[0] == b"caught\n"
    assert process.returncode == 7


def test_a_signal_reaches_all_that_the_command_started(tmp_path: Path) -> None:
    script = "sleep 600 & echo $! > $READY.part; mv $READY.part $READY; wait"
    process = started(script, tmp_path / "ready")
    child = int((tmp_path / "ready").read_text())

    process.send_signal(signal.SIGTERM)

    assert process.wait(WAIT_S) == 128 + signal.SIGTERM
    until(lambda: not Path(f"/proc/{child}").exists(), what="the child's end")
    assert process.stdout is not None
    process.stdout.close()


def test_a_signal_that_was_ignored_stays_ignored(tmp_path: Path) -> None:
    script = "touch $READY; sleep 0.5; echo survived"

    process = started(script, tmp_path / "ready", "nohup")
    process.send_signal(signal.SIGHUP)

    assert process.communicate(timeout=WAIT_S)[0] == b"survived\n"
    assert process.returncode == 0


def test_ctrl_z_stops_the_command_too_and_both_go_on(tmp_path: Path) -> None:
    script = "echo $$ > $READY.part; mv $READY.part $READY; sleep 600"
    process = started(script, tmp_path / "ready")
    command = int((tmp_path / "ready").read_text())

    process.send_signal(signal.SIGTSTP)
    until(lambda: state(process.pid) == state(command) == "T", what="the stop")
    process.send_signal(signal.SIGCONT)
    until(lambda: state(process.pid) != "T" and state(command) != "T", what="going on")

    process.terminate()
    assert process.wait(WAIT_S) == 128 + signal.SIGTERM
    assert process.stdout is not None
    process.stdout.close()


def state(pid: int) -> str:
    """What a process does, as the kernel says it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# --- the story ------------------------------------------------------------------------------------


def test_as_json_it_is_a_story_a_line_for_each_event() -> None:
    done = run("--json", "--", "sh", "-c", "echo one; echo '[worker    ] spawn : two' >&2; exit 3")
    lines = [json.loads(line) for line in done.stdout.splitlines()]

    assert done.returncode == 3
    assert [line["event"] for line in lines if line["event"] != "narration"] == [
        "state",
        "state",
        "end",
    ]
    said = {
        (line["data"]["actor"], line["data"]["text"]) for line in lines if "actor" in line["data"]
    }
    assert {("sh", "one"), ("worker", "two")} <= said
    assert lines[-1]["data"]["marker"] == "[ERROR] sh exited with code 3"


def test_plain_progress_is_lines_with_their_times() -> None:
    done = run("--progress", "plain", "--", "echo", "hello")

    assert done.stdout.decode().splitlines()[0].split()[1:] == ["echo", "hello"]
    assert b"[DONE]" in done.stdout


def test_on_a_terminal_what_is_said_stays_above_what_runs() -> None:
    terminal = Terminal(executing("--", "sh", "-c", "echo one; printf 'name? '; read x; exit 2"))
    try:
        terminal.until("one")
        terminal.until("name?")
        terminal.until("⠋ sh -c")
        terminal.type("ada\n")

        assert terminal.finish() == 2
        assert "✗ sh exited with code 2 after" in terminal.last
        assert terminal.restored
    finally:
        terminal.close()


def test_ctrl_c_on_a_terminal_reaches_the_command() -> None:
    terminal = Terminal(executing("--", "sleep", "600"))
    try:
        terminal.until("⠋ sleep 600")
        terminal.type(INTERRUPT)

        assert terminal.finish() == 128 + signal.SIGINT
        assert "interrupted after" in terminal.last
    finally:
        terminal.close()


# --- the trace ------------------------------------------------------------------------------------


def test_the_trace_is_exported_with_the_exit_code_and_the_commands_own_spans_belong_to_it() -> None:
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with OtlpReceiver() as receiver:
        done = shell(
            "echo $TRACEPARENT; exit 4",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            TRACEPARENT=caller,
        )
        assert receiver.wait_for(1)
        (received,) = receiver.spans

    assert done.returncode == 4
    assert received.span.name == "sh"
    assert received.span.trace_id.hex() == caller.split("-")[1]
    assert received.span.parent_span_id.hex() == caller.split("-")[2]
    assert received.span.status.code == Status.STATUS_CODE_ERROR
    assert received.attributes["process.exit.code"] == 4
    assert received.attributes["process.executable.name"] == "sh"
    trace_id, span_id = done.stdout.decode().split("-")[1:3]
    assert (trace_id, span_id) == (received.span.trace_id.hex(), received.span.span_id.hex())


def test_without_an_endpoint_the_commands_environment_is_untouched() -> None:
    assert shell("echo [$TRACEPARENT]").stdout == b"[]\n"


def test_a_collector_that_hangs_costs_seconds_at_most() -> None:
    with OtlpReceiver(Mode.HANG) as receiver:
        begun = time.monotonic()
        done = run("--", "true", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)

    assert done.returncode == 0
    assert time.monotonic() - begun < 30  # it would be longer without a bound

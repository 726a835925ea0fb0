"""Client commands against a real server, without a terminal: what scripts see."""

import json
import socket
import subprocess
from pathlib import Path

import pytest

from app.cli.client.listing import listed
from app.client import Client
from tests.cli.conftest import Narrator
from tests.cli.terminal import environment_of
from tests.cli.terminal import narrator as command
from tests.clients.server import ServerProcess

# --- run ------------------------------------------------------------------------------------------


def test_run_says_id_and_address_first_then_the_story_then_the_result(
    narrator: Narrator, studio: ServerProcess
) -> None:
    done = narrator("run", "render", "scene=forest", "frames=2", "proof=true")

    word, job_id, address = done.lines[0].split()
    assert (done.code, done.err, word) == (0, "", "job")
    assert address == f"{studio.url}/v1/jobs/{job_id}"
    assert any("Loading forest" in line for line in done.lines)
    assert any("100%  2/2 frames" in line for line in done.lines)
    assert json.loads(done.lines[-1]) == {
        "scene": "forest",
        "frames": 2,
        "quality": "low",
        "proof": True,
    }
    assert "\x1b" not in done.out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("render", "scene=a"), 0),
        (("fails",), 1),
        (("rejects",), 1),
        (("sleeps", "--timeout", "50ms"), 124),
        (("sleeps", "--deadline", "0.05"), 124),
        (("render", "scene=a", "frames=many"), 2),
        (("render",), 2),
        (("render", "scene=a", "--priority", "soon"), 2),
        (("render", "scene=a", "--timeout", "soon"), 2),
        (("render", "scene=a", "--tag", "soon"), 2),
        (("nothing",), 3),
    ],
)
def test_the_exit_code_tells_the_outcome(
    narrator: Narrator, words: tuple[str, ...], code: int
) -> None:
    done = narrator("run", *words)

    assert done.code == code
    assert "Traceback" not in done.err


def test_a_job_that_somebody_cancels_is_a_130(narrator: Narrator, studio: ServerProcess) -> None:
    job_id = studio.submit("sleeps")["id"]
    studio.client.post(f"/v1/jobs/{job_id}/cancel")

    assert narrator("watch", job_id).code == 130


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("frames=many", "scene=a"), "frames: Input should be a valid integer"),
        (("scene=a", "quality=middle"), "quality: "),
        (("scene=a", "size:={}"), "size.width: "),
        (("frames=3",), "scene: is required"),
        (("scnee=a",), "scnee: is no param of this operation; did you mean 'scene'?"),
        (("scene:=NaN",), "scene: 'NaN' is not JSON"),
        (("scene=@nowhere",), "scene: nowhere: No such file"),
    ],
)
def test_a_bad_parameter_names_the_field(
    narrator: Narrator, words: tuple[str, ...], told: str
) -> None:
    done = narrator("run", "render", *words)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("narrator: ")
    assert told in done.err


def test_params_come_from_files_and_standard_input(studio: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"scene": "sea", "frames": 1}')
    done = subprocess.run(
        command("run", "render", "@p.json", "-", "quality=high", "--json"),
        input='{"frames": 3}',
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment_of(NARRATOR_SERVER=studio.url),
    )

    result = json.loads(done.stdout.splitlines()[-1])["data"]["result"]
    assert (result["scene"], result["frames"], result["quality"]) == ("sea", 3, "high")


def test_json_is_a_line_for_the_job_and_one_for_each_event(narrator: Narrator) -> None:
    done = narrator("run", "render", "scene=a", "--json")

    lines = [json.loads(line) for line in done.lines]
    assert lines[0]["event"] == "job"
    assert lines[0]["data"]["operation"] == "render"
    assert [line["data"]["seq"] for line in lines[1:]] == list(range(1, len(lines)))
    assert {"state", "narration", "progress", "output", "end"} <= {line["event"] for line in lines}
    assert all(line["id"] for line in lines[1:])


def test_options_reach_the_job(narrator: Narrator) -> None:
    done = narrator(
        *("submit", "render", "scene=a", "--priority", "high", "--tag", "film=a", "--tag", "b=c=d"),
        *("--attempts", "3", "--timeout", "5m", "--json"),
    )

    record = json.loads(done.out)
    assert (record["priority"], record["tags"]) == ("high", {"film": "a", "b": "c=d"})


def test_the_voice_of_the_story_can_be_chosen(narrator: Narrator) -> None:
    assert "Ta-da!" in narrator("run", "render", "scene=a", "--mode", "cute").out


# --- submit, watch --------------------------------------------------------------------------------


def test_submit_prints_the_id_that_watch_takes(narrator: Narrator) -> None:
    submitted = narrator("submit", "fails", "words=broken")
    (job_id,) = submitted.lines

    watched = narrator("watch", job_id)

    assert (submitted.code, watched.code) == (0, 1)
    assert any(line.endswith("broken") for line in watched.lines)


def test_run_detached_is_submit(narrator: Narrator) -> None:
    done = narrator("run", "render", "scene=a", "--detach")

    assert (done.code, len(done.lines)) == (0, 1)


def test_the_same_idempotency_key_is_the_same_job(narrator: Narrator) -> None:
    first, second = (
        narrator("submit", "render", "scene=a", "--idempotency-key", "k1").out for _ in range(2)
    )

    assert first == second


def test_a_job_is_named_by_the_beginning_of_its_id_or_its_address(
    narrator: Narrator, studio: ServerProcess
) -> None:
    job_id = studio.submit("render", params={"scene": "a"})["id"]

    for word in (job_id, job_id[:13], f"{studio.url}/v1/jobs/{job_id}"):
        assert narrator("follow", word).code == 0


@pytest.mark.parametrize("verb", ["watch", "show", "cancel", "retry"])
def test_a_job_that_is_not_there_is_a_3_that_says_where_to_look(
    narrator: Narrator, verb: str
) -> None:
    done = narrator(verb, "nowhere")

    assert done.code == 3
    assert "narrator ls" in done.err


def test_a_server_that_is_not_there_is_a_3_that_says_what_to_do(narrator: Narrator) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"

        done = narrator("ls", "--server", address)

    assert done.code == 3
    assert address in done.err
    assert "narrator serve" in done.err


def test_an_address_that_is_none_is_a_2(narrator: Narrator) -> None:
    done = narrator("ls", "--server", "nowhere")

    assert done.code == 2
    assert "http://" in done.err


def test_a_reader_that_goes_away_ends_it_quietly(studio: ServerProcess) -> None:
    process = subprocess.Popen(
        command("run", "render", "scene=a", "frames=2000", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment_of(NARRATOR_SERVER=studio.url),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()

    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(60) == 141


# --- ls, show -------------------------------------------------------------------------------------


def test_ls_is_a_table_that_fits_80_columns(narrator: Narrator, studio: ServerProcess) -> None:
    tags = {"a-tag-with-a-long-name": "and a value that goes on and on", "b": "c"}
    studio.submit("render", params={"scene": "a"}, tags=tags)
    with Client(studio.url) as client:
        jobs = list(client.list())

    lines = listed(jobs, now=0, columns=80)

    assert lines[0].plain.split()[:3] == ["JOB", "STATE", "OPERATION"]
    assert max(line.cell_len for line in lines) <= 80


def test_ls_filters(narrator: Narrator, studio: ServerProcess) -> None:
    mine = studio.submit("fails", tags={"suite": "filters"})["id"]
    other = studio.submit("render", params={"scene": "a"}, tags={"suite": "filters"})["id"]
    studio.ended(mine)
    studio.ended(other)

    def listed(*words: str) -> set[str]:
        return set(narrator("ls", "-q", "--tag", "suite=filters", *words).lines)

    assert listed() == {mine, other}
    assert listed("--state", "failed") == {mine}
    assert listed("--operation", "render") == {other}
    assert listed("--state", "failed", "--state", "completed", "--since", "1h") == {mine, other}
    assert len(listed("-n", "1")) == 1


def test_ls_as_json_is_a_record_a_line(narrator: Narrator, studio: ServerProcess) -> None:
    job_id = studio.submit("render", params={"scene": "a"}, tags={"suite": "json"})["id"]

    (line,) = narrator("ls", "--json", "--tag", "suite=json").lines

    assert json.loads(line)["id"] == job_id


def test_ls_of_nothing_says_so(narrator: Narrator) -> None:
    assert narrator("ls", "--tag", "no=such").lines == ["no jobs"]


def test_show_tells_failure_and_attempts(narrator: Narrator, studio: ServerProcess) -> None:
    retry = {"max_attempts": 2, "base_delay_s": 0.01}
    job_id = studio.submit("fails", params={"words": "all broken"}, retry=retry)["id"]
    studio.ended(job_id)

    shown = narrator("show", job_id)

    assert shown.code == 0
    assert "failed (error)" in shown.out
    assert "words=all broken" in shown.out
    assert shown.out.count("RuntimeError: all broken") == 3
    assert json.loads(narrator("show", job_id, "--json").out)["id"] == job_id


# --- cancel, retry --------------------------------------------------------------------------------


def test_cancel_waits_until_a_job_has_stopped(narrator: Narrator, studio: ServerProcess) -> None:
    job_id = studio.submit("sleeps")["id"]
    studio.reaches(job_id, "running")

    assert narrator("cancel", job_id, "--wait").lines == [f"{job_id}  cancelled"]


def test_one_that_cannot_be_cancelled_keeps_no_other_from_it(
    narrator: Narrator, studio: ServerProcess
) -> None:
    over, running = studio.submit("fails")["id"], studio.submit("sleeps")["id"]
    studio.ended(over)

    done = narrator("cancel", over, running)

    assert done.code == 3
    assert over in done.err
    assert studio.ended(running)["state"] == "cancelled"


def test_retry_runs_it_again_with_changed_params(narrator: Narrator, studio: ServerProcess) -> None:
    job_id = studio.submit("render", params={"scene": "sea", "frames": 1})["id"]
    studio.ended(job_id)

    done = narrator("retry", job_id, "frames=3", "--follow", "--json")

    record = json.loads(done.lines[0])["data"]
    assert (done.code, record["retry_of"]) == (0, job_id)
    assert record["params"] == {"scene": "sea", "frames": 3}


def test_a_retry_with_the_same_idempotency_key_is_the_same_new_job(
    narrator: Narrator, studio: ServerProcess
) -> None:
    job_id = studio.submit("render", params={"scene": "sea", "frames": 1})["id"]
    studio.ended(job_id)
    first, second, other = (
        narrator("retry", job_id, "--idempotency-key", key).out for key in ("r1", "r1", "r2")
    )

    assert first == second != other


def test_a_wrong_edit_is_a_2_that_names_the_field(
    narrator: Narrator, studio: ServerProcess
) -> None:
    job_id = studio.submit("render", params={"scene": "sea"})["id"]
    studio.ended(job_id)

    done = narrator("retry", job_id, "frames=many")

    assert done.code == 2
    assert done.err.startswith("narrator: frames: ")


# --- operations -----------------------------------------------------------------------------------


def test_operations_are_listed(narrator: Narrator) -> None:
    done = narrator("operations")

    assert any(line.startswith("render") and "scene=…" in line for line in done.lines)
    assert {"fails", "render"} <= {
        each["name"] for each in json.loads(narrator("operations", "--json").out)
    }


def test_the_help_of_an_operation_is_its_schema(narrator: Narrator) -> None:
    lines = narrator("operations", "render").lines

    assert lines[0] == "narrator run render scene=… [frames=…] [quality=…] [size=…] [proof=…]"
    assert "Frames are counted from 0." in lines
    assert "  frames   integer         2" in lines
    assert '  quality  low|high        "low"' in lines
    assert "  size     object or null  null" in lines


def test_an_operation_that_is_not_there_is_a_3_with_the_nearest(narrator: Narrator) -> None:
    done = narrator("operations", "rendr")

    assert done.code == 3
    assert "did you mean 'render'?" in done.err


# --- completion -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "word", "offered"),
    [
        ("narrator wa", 1, "watch"),
        ("narrator run re", 2, "render"),
        ("narrator run render qu", 3, "quality=high"),
        ("narrator run render pro", 3, "proof=true"),
    ],
)
def test_a_shell_completes_from_the_server(
    studio: ServerProcess, line: str, word: int, offered: str
) -> None:
    assert offered in completed(line, word, studio.url)


def test_a_shell_completes_nothing_where_no_server_is(studio: ServerProcess) -> None:
    assert completed("narrator run re", 2, "http://127.0.0.1:1") == []


def completed(line: str, word: int, server: str) -> list[str]:
    """What bash would be offered for the last word of `line`."""
    variables = {"COMP_WORDS": line, "COMP_CWORD": str(word), "_NARRATOR_COMPLETE": "complete_bash"}
    done = subprocess.run(
        command(),
        capture_output=True,
        text=True,
        check=True,
        env=environment_of(NARRATOR_SERVER=server, **variables),
    )
    assert done.stderr == ""
    return done.stdout.split()

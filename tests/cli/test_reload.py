"""`narrator serve --reload`: what is changed is served, and Ctrl-C ends it."""

import signal
from pathlib import Path

import httpx

from tests.clients.server import ServerProcess, serving, until

JOBS = '''
from app import operation


@operation
def {name}() -> None:
    """Do nothing."""
'''


def operations(server: ServerProcess) -> list[str]:
    """The names that are served; none while it starts again."""
    try:
        served = httpx.get(f"{server.url}/v1/operations", timeout=5).json()
    except httpx.TransportError:
        return []
    return [each["name"] for each in served["operations"]]


def test_a_changed_file_is_served_at_the_same_address_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.py"
    jobs.write_text(JOBS.format(name="before"))

    with serving([jobs], cwd=tmp_path, arguments=["--reload"]) as server:
        assert operations(server) == ["before"]

        jobs.write_text(JOBS.format(name="after"))
        until(lambda: operations(server) == ["after"], what="the changed operation")

        assert server.ends(signal.SIGINT) == 0
        assert operations(server) == []


def test_a_file_that_is_broken_for_a_while_does_not_end_it(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.py"
    jobs.write_text(JOBS.format(name="before"))

    with serving([jobs], cwd=tmp_path, arguments=["--reload"]) as server:
        jobs.write_text("def broken(:\n")
        until(lambda: "syntax error" in server.complaints, what="the complaint")

        jobs.write_text(JOBS.format(name="mended"))
        until(lambda: operations(server) == ["mended"], what="the mended operation")

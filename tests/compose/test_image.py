"""The Dockerfile, as far as it goes without Docker: its steps are run in an environment of ours."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.telemetry.served import serving

ROOT: Final = Path(__file__).parents[2]
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text()


def chosen(folder: Path) -> dict[str, set[str]]:
    """The packages in each of the files that the Dockerfile's script makes of the lock."""
    (script,) = re.findall(
        r"<<'PYTHON' python\n(.*?)^PYTHON$", DOCKERFILE, re.DOTALL | re.MULTILINE
    )
    (folder / "requirements.lock").write_text((ROOT / "requirements.lock").read_text())
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True)
    return {
        file.stem: set(re.findall(r"^([^\s=]+)==", file.read_text(), re.MULTILINE))
        for file in folder.glob("*.txt")
    }


def test_every_source_that_is_copied_is_there_and_not_ignored() -> None:
    copied = [
        source
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for source in sources.split()
    ]
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)

    assert copied
    assert [each for each in copied if not (ROOT / each).exists()] == []
    assert sorted(copied) == sorted(kept)


def test_every_stage_begins_with_the_same_version_and_the_last_has_no_root() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    last = DOCKERFILE.rpartition("FROM ")[2]

    assert len(set(images)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", images[0])
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE)


def test_the_server_gets_what_it_needs_of_the_lock_and_no_tools(tmp_path: Path) -> None:
    found = chosen(tmp_path)

    assert {"fastapi", "uvicorn", "opentelemetry-sdk", "typing-extensions"} <= found["server"]
    assert found["server"].isdisjoint({"pytest", "mypy", "ruff", "hypothesis", "taskiq", "uv"})
    assert {"hatchling", "pathspec", "pluggy"} <= found["build"]


@pytest.mark.slow
def test_the_server_runs_on_what_the_image_installs(tmp_path: Path) -> None:
    chosen(tmp_path)
    place = tmp_path / "narrator"
    python = place / "bin" / "python"
    # uv reads the same files by the same rules as the image's pip, in a tenth of its time.
    uv = [sys.executable, "-m", "uv", "--quiet"]
    into = [*uv, "pip", "install", "--python", str(python)]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(place)], check=True)
    for name in ("server.txt", "build.txt"):
        packages = str(tmp_path / name)
        subprocess.run([*into, "--require-hashes", "--requirement", packages], check=True)
    subprocess.run([*into, "--no-deps", "--no-build-isolation", str(ROOT)], check=True)

    told = subprocess.run(
        [place / "bin" / "narrator", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "serve" in told.stdout


def test_the_health_check_passes_while_the_server_lives_and_fails_after(tmp_path: Path) -> None:
    (check,) = re.findall(r"^HEALTHCHECK (?:.|\\\n)*?CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    _, *arguments = json.loads(check)
    with serving(tmp_path, NARRATOR_HOST="0.0.0.0", NARRATOR_ALLOW_ANONYMOUS="true") as server:
        port = server.url.rpartition(":")[2].rstrip("/")
        command = [sys.executable, *arguments]
        environment = {**os.environ, "NARRATOR_PORT": port}
        alive = subprocess.run(command, env=environment, capture_output=True, check=False)
        server.stop()
        dead = subprocess.run(command, env=environment, capture_output=True, check=False)

    assert (alive.returncode, dead.returncode) == (0, 1)

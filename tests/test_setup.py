"""What `make setup` and CI rely on: the lock, the Makefile, the clients' lock."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
NODE = tuple(ROOT / "tests" / name for name in ("clients", "console", "dashboards"))
TARGETS = ("setup", "demo", "test", "check", "bench", "dashboards", "lock", "clean", "help")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def names(requirements: list[str]) -> set[str]:
    """The normal form (PEP 503) of each requirement's name."""
    found = (re.match(r"[A-Za-z0-9._-]+", each) for each in requirements)
    return {re.sub(r"[-_.]+", "-", each[0]).lower() for each in found if each}


def locked() -> list[str]:
    return re.findall(r"^\S+==\S+", LOCK.read_text(), flags=re.MULTILINE)


def test_every_dependency_is_in_the_lock() -> None:
    metadata = project()
    wanted = [
        *metadata["project"]["dependencies"],
        *metadata["dependency-groups"]["dev"],
        *metadata["build-system"]["requires"],
    ]

    assert names(wanted) <= names(locked())


def test_every_locked_version_has_its_hashes() -> None:
    parts = re.split(r"^(?=\S+==)", LOCK.read_text(), flags=re.MULTILINE)

    unhashed = [part.split()[0] for part in parts if part.strip() and "--hash=sha256:" not in part]
    assert unhashed == []
    assert len(parts) > len(locked()) > 50


@pytest.mark.parametrize(
    "file",
    [LOCK, *(folder / name for folder in NODE for name in ("package.json", "package-lock.json"))],
    ids=lambda file: f"{file.parent.name}/{file.name}",
)
def test_no_lock_names_an_address_or_a_place_on_a_machine(file: Path) -> None:
    text = re.sub(r"sha512-\S+|node_modules/|@[\w-]+/", "", file.read_text())

    assert re.findall(r"\w+://|--\w*index|--find-links|file:|\"resolved\"|/\w+/", text) == []


@pytest.mark.parametrize("folder", NODE, ids=lambda folder: str(folder.name))
def test_a_lock_of_npm_has_what_is_needed_with_hashes(folder: Path) -> None:
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]

    assert packages[""]["dependencies"] == wanted
    assert all(each["integrity"] for place, each in packages.items() if place)


@pytest.mark.parametrize("target", TARGETS)
def test_make_has_every_target_and_lists_it(target: str) -> None:
    known = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert known.returncode == 0, known.stderr
    assert re.search(rf"^  make {target} +\S", listed.stdout, flags=re.MULTILINE)


def test_ci_runs_make_test_and_stops_at_the_first_failure() -> None:
    script = ROOT / ".ci" / "run"

    assert script.stat().st_mode & 0o111
    assert "set -euo pipefail" in script.read_text()
    assert script.read_text().rstrip().endswith("\nmake test")


def test_the_license_is_the_one_that_the_metadata_names() -> None:
    assert project()["project"]["license"] == "Apache-2.0"
    assert (
        "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    )

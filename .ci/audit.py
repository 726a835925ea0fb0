"""Ask for the known vulnerabilities of all that a lock names, and say what came of it.

pip-audit ends with 1 both where something was found and where its source can't be reached. Here
these differ: a finding fails, always; what could not be looked up is said to be not audited, never
clean, and fails with `--must`. It knows neither which program asks nor which source is asked: all
arguments that are not its own are the command to run, without its lock and form of output.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = "requirements.lock"
SHOWN: Final = 5
"""Names of packages that are told of those that could not be looked up."""


def main() -> int:
    """0: nothing is known of any; or, without `--must`, nobody could be asked. 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--must", action="store_true", help="fail where it can't be looked up")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="pip-audit, as it is called here")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        done = subprocess.run(
            [
                *asked.command,
                *("--requirement", LOCK, "--disable-pip", "--progress-spinner", "off"),
                *("--format", "json", "--output", str(answer)),
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        packages = json.loads(answer.read_text())["dependencies"] if answer.exists() else []
    return verdict(packages, said=done.stderr, must=asked.must)


def verdict(packages: list[dict[str, Any]], *, said: str, must: bool) -> int:
    """Print what is known of `packages`; where there is none, the last line of `said` is why."""
    found = [
        f"{each['name']} {each['version']}: {bug['id']}, "
        f"mended in {', '.join(bug['fix_versions']) or 'no version'}"
        for each in packages
        for bug in each.get("vulns", ())
    ]
    skipped = [each for each in packages if "skip_reason" in each]
    for line in found:
        print(f"vulnerable: {line}")
    if not packages:
        *_, why = said.split("\n") if (said := said.strip()) else ["it said nothing"]
        print(f"not audited: nothing of {LOCK} could be looked up ({why.strip()})")
    if skipped:
        names = ", ".join(each["name"] for each in skipped[:SHOWN])
        more = f" and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else ""
        print(
            f"not audited: {len(skipped)} of {len(packages)} packages of {LOCK}: {names}{more} "
            f"({skipped[0]['skip_reason']})"
        )
    if packages and not found and not skipped:
        print(f"audited: {len(packages)} packages of {LOCK}, no known vulnerability")
    return int(bool(found) or (must and (not packages or bool(skipped))))


if __name__ == "__main__":
    sys.exit(main())

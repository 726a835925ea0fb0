"""The console script's way in, installed as the module `job_narrator`.

A user may have a package called `app` and put its folder first on the import path (`PYTHONPATH=.`):
`import app.cli` would find theirs. This module's name is nobody else's; it loads our packages from
where they are before anybody else's can be found under their names. It imports nothing of ours
until then.
"""

import importlib
import sys
from pathlib import Path

_PACKAGES = ("telemetry", "narration", "app")
# A file that no other package has. Not this one: a wheel has it under its other name only.
_MARK = Path("app", "cli", "story_printer.py")


def main() -> int:
    """Run the command `narrator`; its exit code."""
    home = next((each for each in sys.path if Path(each, _MARK).is_file()), None)
    if home is None:
        sys.stderr.write(
            "narrator: its own packages cannot be found on the import path; install it again\n"
        )
        return 1
    sys.path.insert(0, home)
    try:
        for package in _PACKAGES:
            importlib.import_module(package)
    finally:
        sys.path.remove(home)
    code: int = importlib.import_module("app.cli.main").main()
    return code

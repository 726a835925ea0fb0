"""`make test-sdk`: the OpenTelemetry SDK's own tests, as they are and with every span tapped.

It fails if the tap changes an outcome that `explained.toml` does not explain. The tests are those
in the source distribution of the version that is installed, fetched by pip into a temporary folder,
which is removed at the end.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path

from tests.sdk.compare import Run, problems, summary

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TIMEOUT_S = 900
"""Seconds that one run may take; it takes half a minute."""


def unpack(folder: Path) -> tuple[Path, Path]:
    """The folders of the SDK and of what its tests need, of one release, unpacked in `folder`."""
    wanted = {
        "opentelemetry-sdk": version("opentelemetry-sdk"),
        # Not installed here; it is released with the conventions, under the same number.
        "opentelemetry-test-utils": version("opentelemetry-semantic-conventions"),
    }
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    options = ["--quiet", "--no-deps", "--no-binary", ",".join(wanted), "--dest", str(folder)]
    pins = [f"{name}=={number}" for name, number in wanted.items()]
    subprocess.run([*pip, *options, *pins], check=True)
    for archive in folder.glob("*.tar.gz"):
        subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
    sdk, needed = (folder / f"{name.replace('-', '_')}-{number}" for name, number in wanted.items())
    return sdk, needed


def run(sdk: Path, needed: Path, *options: str) -> tuple[Run, str]:
    """One run of the tests in `sdk`, and what it printed."""
    noted = sdk.parent / "outcomes.json"
    noted.unlink(missing_ok=True)
    ours = ("OTEL_", "PYTEST_")  # may be set for other reasons, and would change what is run
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
        # Its tests are a package `tests`, as ours are: the plugin is found by its own folder.
        "PYTHONPATH": os.pathsep.join(map(str, (needed / "src", ROOT, HERE))),
        # One of its tests starts `python`, which must be this one.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    pytest = [sys.executable, "-m", "pytest", "-q", "-c", "pyproject.toml", "-p", "tapped"]
    done = subprocess.run(
        [*pytest, "tests", "--outcomes", str(noted), *options],
        cwd=sdk,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode not in {0, 1}:  # 1: tests have failed
        sys.exit(f"{done.stdout}\ntest-sdk: pytest ended with {done.returncode}")
    return Run.read(noted), done.stdout


def main() -> int:
    """Run both, compare, and say so; 0 if all is well."""
    explained = tomllib.loads((HERE / "explained.toml").read_text())
    with tempfile.TemporaryDirectory(prefix="test-sdk-") as folder:
        sdk, needed = unpack(Path(folder))
        bare, _ = run(sdk, needed)
        tapped, said = run(sdk, needed, "--tap")
    found = problems(bare, tapped, explained)
    if found:
        sys.stdout.write(f"{said}\n")
    for problem in found:
        sys.stdout.write(f"test-sdk: {problem}\n")
    sys.stdout.write(f"test-sdk: {sdk.name}: {summary(bare, tapped)}, {len(explained)} explained\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

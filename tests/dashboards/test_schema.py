"""Grafana would take the dashboards: its own types say so, twice.

The Python models of Grafana's SDK read them and write the same again: so no field is unknown to
the Grafana that they are for. The TypeScript types that Grafana publishes for its newest version
are given each dashboard as a literal: so no field is unknown, misspelt or missing there, none has
another type, and every word is one of the legal ones. What neither knows is whether Grafana draws
it well: there is no Grafana here.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import without_intervals
from tests.dashboards.generated import FILES, read

HERE = Path(__file__).parent


def complaints(literals: dict[str, str], folder: Path) -> list[str]:
    """What the compiler says of each text as a dashboard, by Grafana's types."""
    compiler = HERE / "node_modules" / "typescript" / "bin" / "tsc"
    node = shutil.which("node")
    assert node, "Node.js is not installed: on Debian, apt-get install nodejs npm"
    assert compiler.is_file(), f"npm ci --prefix tests/{HERE.name}"
    files = [folder / f"{name}.ts" for name in literals]
    for file, literal in zip(files, literals.values(), strict=True):
        file.write_text(
            f"import type {{ Dashboard }} from {json.dumps(str(HERE / 'schema.ts'))};\n"
            f"export const dashboard: Dashboard = {literal};\n",
            encoding="utf-8",
        )
    options = "--noEmit --strict --skipLibCheck --module esnext --moduleResolution bundler"
    found = subprocess.run(
        [node, str(compiler), *options.split(), "--allowImportingTsExtensions", *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.stderr == ""
    return found.stdout.splitlines()


@pytest.mark.parametrize("uid", FILES)
def test_grafanas_python_models_read_them_and_write_the_same(uid: str) -> None:
    register_default_plugins()
    document = read(uid)
    again = json.loads(JSONEncoder().encode(without_intervals(Dashboard.from_json(document))))

    assert again == document


@pytest.mark.node
def test_grafanas_published_types_have_no_complaint(tmp_path: Path) -> None:
    literals = {uid: path.read_text(encoding="utf-8") for uid, path in FILES.items()}

    assert complaints(literals, tmp_path) == []


WRONG = {
    "an unknown field": ('"schemaVersion":', '"schemaVersio":'),
    "an unknown word": ('"displayMode": "table"', '"displayMode": "tables"'),
    "an unknown kind of panel": ('"type": "timeseries"', '"type": "graph2"'),
    "an unknown field of a panel's kind": ('"stacking":', '"stackin":'),
    "another type": ('"fillOpacity": 30', '"fillOpacity": "30"'),
    "a number that is no word of an enum": ('"graphTooltip": 1', '"graphTooltip": 7'),
}


@pytest.mark.node
def test_grafanas_published_types_complain_of_what_is_wrong(tmp_path: Path) -> None:
    right = FILES["narrator-jobs"].read_text(encoding="utf-8")
    literals = {
        f"wrong{number}": right.replace(*change, 1) for number, change in enumerate(WRONG.values())
    }
    said = complaints(literals, tmp_path)

    assert right not in literals.values()
    assert {name for name in literals if any(f"{name}.ts(" in line for line in said)} == set(
        literals
    )

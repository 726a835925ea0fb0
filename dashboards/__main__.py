"""Writes the dashboards as JSON, for Grafana to load: `python -m dashboards`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.jobs import JOBS
from dashboards.narration import NARRATION
from dashboards.panels import Board, dashboard
from dashboards.service import SERVICE

BOARDS: Final = (JOBS, NARRATION, SERVICE)
FOLDER: Final = Path(__file__).parent


def documents() -> Mapping[str, str]:
    """Each dashboard as the text of its file, by the file's name."""
    return {f"{board.uid}.json": _json(board) for board in BOARDS}


def _json(board: Board) -> str:
    encoder = JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False)
    return encoder.encode(dashboard(board)) + "\n"


def main(folder: Path = FOLDER) -> None:
    """Write them, by default beside this module."""
    for name, text in documents().items():
        (folder / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}: {len(text.encode())} bytes\n")


if __name__ == "__main__":
    main()

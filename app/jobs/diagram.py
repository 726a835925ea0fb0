"""The lifecycle table as a Mermaid diagram; `python -m app.jobs.diagram` writes it into the docs.

It knows the table and two markers, and nothing else of the document.
"""

import sys
from pathlib import Path
from typing import Final

from app.jobs.lifecycle import FAILURE_REASONS, START, TRANSITIONS, Trigger
from telemetry.names import TERMINAL, State

BEGIN: Final = "<!-- lifecycle:begin -->"
END: Final = "<!-- lifecycle:end -->"
DOCUMENT: Final = Path("ARCHITECTURE.md")


def mermaid() -> str:
    """The table as a Mermaid `stateDiagram-v2`."""
    lines = ["stateDiagram-v2", f"    [*] --> {START}: submit"]
    for state, legal in TRANSITIONS.items():
        lines += [
            f"    {state} --> {target}: {_label(state, trigger)}"
            for trigger, target in legal.items()
        ]
    lines += [f"    {state} --> [*]" for state in State if state in TERMINAL]
    return "\n".join(lines)


def rewrite(text: str) -> str:
    """`text` with the present diagram between its markers.

    Raises:
        ValueError: the markers are not there, once each and in order.

    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the document needs {BEGIN} and then {END}, once each")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n```mermaid\n{mermaid()}\n```\n{END}{after}"


def main(document: Path = DOCUMENT) -> None:
    """Bring `document` up to date."""
    document.write_text(rewrite(document.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{document}: the lifecycle diagram is up to date\n")


def _label(state: State, trigger: Trigger) -> str:
    if trigger is not Trigger.FAIL:
        return str(trigger)
    return f"{trigger} ({', '.join(sorted(FAILURE_REASONS[state]))})"


if __name__ == "__main__":
    main()

"""The blocks of narration/STREAM.md: tests use them, so that the page shows what was tried."""

import re
from typing import Final

from tests.clients.server import ROOT

PAGE: Final = ROOT / "narration" / "STREAM.md"
_FENCE: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """All fenced blocks of `language`, in order."""
    found = _FENCE.findall(PAGE.read_text(encoding="utf-8"))
    return [code for name, code in found if name == language]


def block(language: str) -> str:
    """The one fenced block of `language`."""
    (found,) = blocks(language)
    return found

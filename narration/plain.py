"""The plain form of a message: one line, `[actor     ] action         : message`.

The form of the original narration library: whatever prints it in a child process is read back
into messages. Widths count characters; longer names push the rest to the right.
"""

import re
from typing import Final, NamedTuple

ACTOR_WIDTH: Final = 10
ACTION_WIDTH: Final = 15

_PLAIN: Final = re.compile(r"\[([\w.-]{1,64})[ \t]*\][ \t]+([\w.-]{1,64})[ \t]*:[ \t]+(\S.*)")


class PlainLine(NamedTuple):
    """What a plain line says."""

    actor: str
    action: str
    text: str


def plain_line(actor: str, action: str, text: str) -> str:
    r"""The plain form of one message, without a line end; line breaks in the text are kept.

    >>> plain_line("worker", "spawn", "Spawning")
    '[worker    ] spawn          : Spawning'
    """
    return f"[{actor:<{ACTOR_WIDTH}}] {action:<{ACTION_WIDTH}}: {text}"


def parse_plain(line: str) -> PlainLine | None:
    """What `line` says if it has the plain form, padded or not; None if it does not.

    Actor and action are words of letters, digits, `_`, `-` and `.`; the text is not empty.
    """
    match = _PLAIN.fullmatch(line.rstrip("\r\n"))
    return PlainLine(*match.groups()) if match else None

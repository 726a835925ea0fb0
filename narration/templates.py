"""Lifecycle moments on the fast road: each is a template of its message's JSON, made once.

A moment that goes well is told often, and always in the same words but for a few short values. So
its three voices and its fields are one template, and telling it fills in those values. What is not
plain (another set of attributes, a long or odd value, one that might be a secret) is left to
`formatting`, with whose bytes these are the same. This module does not know where a message goes.
"""

import string
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from narration.masking import Mask, is_secret_name, leaves_words
from narration.message import clean_name
from narration.phrases import PHRASES, Phrase, word, word_for
from narration.story import NARRATOR
from telemetry.names import Kind, Level, Moment

WORD_LIMIT: Final = 128
"""Characters of a text that may be filled in."""

MOMENTS: Final[Mapping[str, Moment]] = {
    moment.value: moment for moment, row in PHRASES.items() if row.level is Level.INFO
}
"""The moments that have a template, by the names of their events."""

_encode: Final = msgspec.json.Encoder().encode
_INT64: Final = 2**63
_INFINITY: Final = float("inf")


class Template(NamedTuple):
    """One moment, as one mask leaves it.

    `fill` takes each attribute as a word inside of a JSON string, then each as a JSON value, and
    gives the message from its kind to its fields. `speak` takes the words as they are and gives the
    three voices; it is None where no text that is made of plain parts can hold a secret.
    """

    attributes: tuple[str, ...]
    fill: Callable[..., str]
    speak: Callable[..., str] | None


def moment_json(mask: Mask, moment: Moment, attributes: Mapping[str, Any]) -> bytes | None:
    """`moment` as JSON from its kind to its fields; None if it is not plain."""
    template = _template(mask, moment)
    if template is None or tuple(attributes) != template.attributes:
        return None
    words, values = [], []
    for name, value in attributes.items():
        kind = type(value)
        if kind is str:
            inside = _inside(mask, value)
            if inside is None:
                return None
            words.append(inside)
            values.append(f'"{inside}"')
        elif (
            (kind is int and -_INT64 <= value < _INT64)
            or (kind is float and -_INFINITY < value < _INFINITY)
            or kind is bool
        ):
            words.append(word(name, value))
            values.append(_encode(value).decode())
        else:
            return None
    if template.speak is not None:
        spoken = template.speak(*[word(name, value) for name, value in attributes.items()])
        if mask(spoken) != spoken:
            return None
    return template.fill(*words, *values).encode()


@lru_cache(maxsize=256)  # a process has one mask, or a few
def _template(mask: Mask, moment: Moment) -> Template | None:
    """The template of `moment`; None if `mask` would change what is the same in every message."""
    row, action = PHRASES[moment], moment.removeprefix("job.")
    voices = [_numbered(row, voice) for voice in (row.human, row.cute, row.story)]
    same = [voice.format(*("x" for _ in row.attributes)) for voice in voices]
    if (
        any(mask(each) != each for each in (*same, *row.attributes))
        or any(map(is_secret_name, row.attributes))
        or clean_name(mask, action) != action
    ):
        return None
    human, cute, story = map(_json, voices)
    count = len(row.attributes)
    fields = ",".join(
        f"{_json(name)}:{{{place}}}" for place, name in enumerate(row.attributes, count)
    )
    fill = (
        f'"kind":"{Kind.LIFECYCLE.value}","level":"{row.level.label}"'
        f',"actor":{_json(clean_name(mask, NARRATOR))},"action":{_json(action)}'
        f',"text":{human},"cute":{cute},"story":{story},"fields":{{{{{fields}}}}}'
    )
    speak = None if leaves_words(mask) else "\n".join(voices).format
    return Template(row.attributes, fill.format, speak)


def _numbered(row: Phrase, voice: str) -> str:
    """`voice` with the place of an attribute where it has the attribute's word."""
    places = {word_for(name): place for place, name in enumerate(row.attributes)}
    return "".join(
        text if name is None else f"{text}{{{places[name]}}}"
        for text, name, _, _ in string.Formatter().parse(voice)
    )


@lru_cache(maxsize=4096)  # the words of moments are few, but for a time now and then
def _inside(mask: Mask, text: str) -> str | None:
    """`text` inside of a JSON string; None if it is not told as it is wherever a phrase has it."""
    spoken = f"x {text} x=1 “{text}” {text}: x, ({text}) x."
    if len(text) > WORD_LIMIT or mask(text) != text or mask(spoken) != spoken:
        return None
    try:
        return _json(text)[1:-1]
    except UnicodeEncodeError:  # a lone surrogate
        return None


def _json(text: str) -> str:
    return _encode(text).decode()

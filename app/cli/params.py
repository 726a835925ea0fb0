"""Words of a command line as the params of an operation, by its JSON Schema.

`key=value` is converted by the schema, `key:=JSON` is JSON; `key=@FILE` and `key:=@FILE` take the
value from a file, `@FILE` is a JSON object of params, `-` is one on standard input. Later words go
before what whole objects say. Whether a value is legal is the operation's own to say.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NoReturn

STDIN: Final = "-"
"""The word, and the file, that is standard input."""


class WordError(ValueError):
    """A word is no param, or the operation has none of that name; the message names the field."""


def params_from(
    words: Iterable[str], schema: Mapping[str, Any], *, read: Callable[[str], str] | None = None
) -> dict[str, Any]:
    """The params that `words` give to an operation with this `schema`.

    `read` gives the text of a file by its name; by default those of the disk, and standard input.

    Raises:
        WordError: names the field, and what is legal.

    """
    read = read or text_of
    whole: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for word in words:
        if word == STDIN or word.startswith("@"):
            whole |= _object(word, read)
            continue
        name, value = _param(word, schema, read)
        if name in given:
            raise WordError(f"{name}: is given twice")
        given[name] = value
    params = whole | given
    for name in params:
        _check_name(name, schema)
    return params


def text_of(name: str) -> str:
    """The text of the file `name`, `-` for standard input.

    Raises:
        WordError: it can't be read.

    """
    try:
        return sys.stdin.read() if name == STDIN else Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise WordError(f"{name}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise WordError(f"{name}: is not text in UTF-8") from None
    except ValueError as error:  # a name that no file has
        raise WordError(f"{name!r}: {error}") from None


def _object(word: str, read: Callable[[str], str]) -> dict[str, Any]:
    name = word.removeprefix("@")
    value = _json(name if name != STDIN else "standard input", read(name))
    if not isinstance(value, dict):
        raise WordError(f"{name}: params are a JSON object, not {json.dumps(value)[:40]}")
    return value


def _param(word: str, schema: Mapping[str, Any], read: Callable[[str], str]) -> tuple[str, Any]:
    name, found, text = word.partition("=")
    if not found or not name.rstrip(":"):
        raise WordError(f"{word!r} is no param: write key=value, key:=JSON or @file.json")
    raw = name.endswith(":")
    name = name.removesuffix(":")
    if text.startswith("@"):
        try:
            text = read(text[1:])
        except WordError as error:
            raise WordError(f"{name}: {error}") from None
    if raw:
        return name, _json(name, text)
    return name, converted(text, types_of(schema.get("properties", {}).get(name, {}), schema))


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        shown = text if len(text) <= 40 else f"{text[:39]}…"  # noqa: PLR2004 — of a line
        raise WordError(f"{name}: {shown!r} is not JSON: {error}") from None


def _check_name(name: str, schema: Mapping[str, Any]) -> None:
    known = list(schema.get("properties", {}))
    if name in known or schema.get("additionalProperties", True):
        return
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    legal = f"it takes {', '.join(known)}" if known else "it takes no params"
    raise WordError(f"{name}: is no param of this operation; {hint}{legal}")


def converted(text: str, types: frozenset[str]) -> Any:
    """`text` as a value of one of the JSON Schema `types`; as it is where a string is legal.

    What is no JSON stays text: pydantic reads more forms (`yes`, `007`), or says what is wrong.

    >>> converted("3", frozenset({"integer"})), converted("3", frozenset({"string"}))
    (3, '3')
    """
    if not types or "string" in types:
        return text
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def types_of(schema: Any, root: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types that a part of the schema `root` allows; none where it does not say."""
    found: set[str] = set()
    seen: set[str] = set()
    parts = [schema]
    while parts:
        part = parts.pop()
        if not isinstance(part, Mapping):
            continue
        named = part.get("type", ())
        found.update([named] if isinstance(named, str) else named)
        for several in ("anyOf", "oneOf", "allOf"):
            parts += part.get(several, ())
        reference = part.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            seen.add(reference)
            parts.append(root.get("$defs", {}).get(reference.rpartition("/")[2]))
    return frozenset(found)

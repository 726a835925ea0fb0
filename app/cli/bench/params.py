"""Words of a command line (`key=value`, `key:=JSON`) as the params of an operation.

What a value means is said by the operation's JSON Schema; whether it is legal is the operation's
own to say.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from app.handlers.operation import Operation
from app.jobs.errors import InvalidParams


class WordError(ValueError):
    """A word is no param, or the operation refuses it; the message names the field."""


def params_of(operation: Operation, words: Iterable[str]) -> dict[str, Any]:
    """The params that `words` give to `operation`, valid and in canonical form.

    Raises:
        WordError: names the field, and what is legal.

    """
    given: dict[str, Any] = {}
    for word in words:
        name, value = _split(word, operation.schema)
        if name in given:
            raise WordError(f"{name}: is given twice")
        given[name] = value
    try:
        return operation.validate(given)
    except InvalidParams as error:
        raise WordError(str(error)) from None


def _split(word: str, schema: Mapping[str, Any]) -> tuple[str, Any]:
    name, found, text = word.partition("=")
    if not found or not name.rstrip(":"):
        raise WordError(f"{word!r} is no param: write key=value, or key:=JSON")
    if not name.endswith(":"):
        types = types_of(schema.get("properties", {}).get(name, {}), schema)
        return name, converted(text, types)
    name = name.removesuffix(":")
    try:
        return name, json.loads(text)
    except ValueError as error:
        raise WordError(f"{name}: {text!r} is not JSON: {error}") from None


def converted(text: str, types: frozenset[str]) -> Any:
    """`text` as a value of one of the JSON Schema `types`; as it is where a string is legal.

    What is no JSON stays text: pydantic reads more forms (`yes`, `007`), or says what is wrong.

    >>> converted("3", frozenset({"integer"})), converted("3", frozenset({"string"}))
    (3, '3')
    """
    if not types or "string" in types:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


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

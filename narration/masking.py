"""Masking: secrets are taken out of a text before it is stored; and the cut of an overlong one.

Two kinds are found: literal secrets that the settings name, and the shapes of secrets (tokens,
keys, passwords in addresses). The shapes are a safety net, not a proof: isolation of jobs is what
keeps a story private. This module knows neither jobs nor spans.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

Mask = Callable[[str], str]
"""Takes the secrets out of a text; idempotent."""

MASK: Final = "[MASKED]"
"""What stands in a secret's place."""

_LEAVES_WORDS: Final = "leaves_words"

MIN_LITERAL: Final = 4
"""Characters; a shorter configured secret would mask ordinary words and is not looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One shape of a secret.

    `hints` are lower-case: a text that holds none of them in any case cannot match, and is not
    searched. `replacement` is a template as in `re.sub`.
    """

    name: str
    expression: re.Pattern[str]
    replacement: str
    hints: tuple[str, ...]


# Every expression runs in time linear in the text: what one match or attempt scans, no other does.
_QUOTED: Final = r""""(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?"""
_VALUE: Final = rf"""(?:\[MASKED\]|b?(?:{_QUOTED})|[^\s,;&"')}}\]]+)"""
_WORD: Final = (
    r"(?:(?:passw(?:or)?d|passphrase|pwd|secret)(?:[_-]?(?:key|value|hash))?|token|cookie"
    r"|(?:api|access|private|signing|encryption)[_-]?key|credentials?)"
)
_WORD_HINTS: Final = ("pass", "pwd", "secret", "token", "cookie", "key", "credential")

PATTERNS: Final = (
    Pattern(
        name="private_key",
        expression=re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?:(?!-----END).)*"
            r"(?:-----END [A-Z0-9 ]{0,40}-----)?",
            re.DOTALL,
        ),
        replacement=MASK,
        hints=("key",),
    ),
    Pattern(
        name="header",
        expression=re.compile(
            r"(?i)((?:authorization[\"']?[ \t]*[=:]|cookie[\"']?[ \t]*:)[ \t]*)"
            rf"""(?:\[[^\]\r\n]*\]?|b?(?:{_QUOTED})|[^\r\n"']+)"""
        ),
        replacement=rf"\1{MASK}",
        hints=("authorization", "cookie"),
    ),
    Pattern(
        name="bearer",
        expression=re.compile(r"(?i)\b(bearer[ \t]+)[\w.~+/=-]+"),
        replacement=rf"\1{MASK}",
        hints=("bearer",),
    ),
    Pattern(
        name="jwt",
        expression=re.compile(r"\beyJ[\w-]+\.eyJ[\w-]+(?:\.[\w-]*)?"),
        replacement=MASK,
        hints=("eyj",),
    ),
    Pattern(
        name="url_password",
        expression=re.compile(r"(://[^\s:/@]*:)[^\s/]+(?=@)"),
        replacement=rf"\1{MASK}",
        hints=("://",),
    ),
    Pattern(
        name="assignment",  # key=value and key: value; the key stays
        expression=re.compile(rf"(?i)({_WORD}[\"']?[ \t]*[=:][ \t]*){_VALUE}"),
        replacement=rf"\1{MASK}",
        hints=_WORD_HINTS,
    ),
    Pattern(
        name="option",  # --password value, as on a command line
        expression=re.compile(rf"(?i)((?<!\S)--(?:[a-z0-9]+-){{0,8}}{_WORD}[ \t]+)(?!-){_VALUE}"),
        replacement=rf"\1{MASK}",
        hints=_WORD_HINTS,
    ),
)
"""Every shape that is masked, in the order in which they are applied."""

_SECRET_NAME: Final = re.compile(
    r"passw(?:or)?d|passphrase|(?:^|[^a-z])pwd$|secret|token$|authorization|(?:^|[^a-z])auth$"
    r"|cookie|(?:api|access|private|signing|encryption)[._-]?key|credential"
)


def unmasked(text: str) -> str:
    """`text` as it is: the mask that masks nothing."""
    return text


def masker(extra_secrets: Iterable[str] = (), patterns: Iterable[Pattern] = PATTERNS) -> Mask:
    """A function that masks `extra_secrets` (literally) and `patterns` in a text.

    It runs on every message: a text that holds no hint of a secret costs a few substring scans.
    """
    literal = _literal(extra_secrets)
    patterns = tuple(patterns)
    words_are_clean = patterns == PATTERNS  # none of ours matches a lone word, such as a name
    shapes = tuple((1 << index, shape) for index, shape in enumerate(patterns))
    hints = _hints(shapes)

    def mask(text: str) -> str:
        if literal is not None:
            text = literal.sub(MASK, text)
        if words_are_clean and text.isidentifier():
            return text
        lower = text.lower()
        suspected = 0
        for hint, bits in hints:
            if hint in lower:
                suspected |= bits
        if suspected:
            for bit, shape in shapes:
                if suspected & bit:
                    text = shape.expression.sub(shape.replacement, text)
        return text

    setattr(mask, _LEAVES_WORDS, words_are_clean and literal is None)
    return mask


def leaves_words(mask: Mask) -> bool:
    """Whether `mask`, made by `masker`, leaves every lone word (a Python identifier) as it is."""
    return bool(getattr(mask, _LEAVES_WORDS, False))


def _hints(shapes: Iterable[tuple[int, Pattern]]) -> tuple[tuple[str, int], ...]:
    """Each hint once, with the bits of the shapes that it hints at."""
    hinted: dict[str, int] = {}
    for bit, shape in shapes:
        for hint in shape.hints:
            hinted[hint] = hinted.get(hint, 0) | bit
    return tuple(hinted.items())


def _literal(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """Any of `secrets`, longest first."""
    found = sorted({one for one in secrets if len(one) >= MIN_LITERAL}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, found))) if found else None


def is_secret_name(name: str) -> bool:
    """Whether the value under this key is a secret whatever it looks like.

    >>> is_secret_name("http.request.header.authorization"), is_secret_name("max_tokens")
    (True, False)
    """
    return _SECRET_NAME.search(name.lower()) is not None


def cut(text: str, limit: int) -> tuple[str, int | None]:
    """`text` in at most `limit` UTF-8 bytes, and its true length in bytes where it was cut.

    A code point is never split; a character of several code points may be.
    """
    if text.isascii():
        return (text, None) if len(text) <= limit else (text[: max(0, limit)], len(text))
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= limit:
        return text, None
    return encoded[: max(0, limit)].decode("utf-8", "ignore"), len(encoded)

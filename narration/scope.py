"""Whose story is being told here: a key in the OpenTelemetry context.

The key is inherited by child spans, asyncio tasks and `copy_context().run`; a bare thread inherits
nothing, and what it says then goes to no stream. A scope is the only way to a story: isolation is
by construction.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context

if TYPE_CHECKING:
    from narration.story import Story

_KEY: Final = otel_context.create_key("narration-scope")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """Which attributes may reach a client.

    `first_party` holds top-level packages (the operation's own); `allowed` the names of attributes
    that an operation lets through from third parties. Names and times of spans and events always
    pass.
    """

    first_party: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One voice in one story: an attempt of a job (0 is the job itself)."""

    story: "Story"
    actor: str
    attempt: int = 0
    disclosure: Disclosure = Disclosure()


def current_scope(context: Context | None = None) -> Scope | None:
    """The scope in `context` (the current one by default); None outside of any story."""
    scope = otel_context.get_value(_KEY, context)
    return scope if isinstance(scope, Scope) else None


def with_scope(scope: Scope, context: Context | None = None) -> Context:
    """`context` (the current one by default) with `scope` in it; attaching it is the caller's."""
    return otel_context.set_value(_KEY, scope, context)

"""What the tests of jobs over HTTP share: two operations, and how a refusal looks."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx

from app import operation

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Run = Callable[[Awaitable[None]], None]


@operation("add")
async def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@operation("forever")
async def forever() -> None:
    """Wait for a cancellation."""
    await asyncio.Event().wait()


OPERATIONS = (add, forever)


async def refused(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem that `answer` is, of that status."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status)
    return problem

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import Any, NewType

import pytest

from app.handlers.context import JobContext
from app.handlers.errors import ResourceError, TargetError
from app.handlers.lifespan import Lifespan, Resources, lifespan, lifespans_of
from app.handlers.operation import Target, build, mark_of, operation

Token = NewType("Token", str)


class Pool:
    """A resource."""


class Model:
    """Another."""


def module(*functions: Callable[..., Any]) -> ModuleType:
    made = ModuleType("made")
    for function in functions:
        setattr(made, function.__name__, function)
    return made


def source_of(provides: Any, history: list[str], name: str) -> Lifespan:
    async def opened() -> AsyncIterator[Any]:
        history.append(f"open {name}")
        yield name
        history.append(f"close {name}")

    return Lifespan(opened, provides)


def test_resources_are_opened_once_and_closed_last_first() -> None:
    history: list[str] = []
    first, second = source_of(Pool, history, "a"), source_of(Model, history, "b")

    async def test() -> None:
        resources = Resources()
        await resources.open([first])
        await resources.open([first, second])
        assert resources.inject({"x": first, "y": second, "z": first}) == {
            "x": "a",
            "y": "b",
            "z": "a",
        }
        await resources.close()

    asyncio.run(test())
    assert history == ["open a", "open b", "close b", "close a"]


def test_a_failure_while_opening_names_the_function_and_closes_the_rest() -> None:
    history: list[str] = []

    @lifespan
    async def refused() -> AsyncIterator[Pool]:
        for host in ("a", "b"):
            raise ConnectionError(f"no route to {host}")
        yield Pool()

    async def test() -> None:
        with pytest.raises(ResourceError, match=r"refused\) failed while opening: .*no route"):
            await Resources().open([source_of(Model, history, "a"), Lifespan(refused, Pool)])

    asyncio.run(test())
    assert history == ["open a", "close a"]


def test_a_failure_while_closing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    @lifespan
    async def breaks() -> AsyncIterator[Pool]:
        yield Pool()
        raise ConnectionError("already gone")

    async def test() -> None:
        resources = Resources()
        await resources.open([Lifespan(breaks, Pool)])
        await resources.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(test())
    assert "already gone" in caplog.text


def test_a_resource_that_is_not_open_is_an_error() -> None:
    with pytest.raises(ResourceError, match="it is not open"):
        Resources().inject({"pool": source_of(Pool, [], "a")})


@lifespan
async def iterator() -> AsyncIterator[Pool]:
    yield Pool()


@lifespan
async def generator() -> AsyncGenerator[Pool, None]:
    yield Pool()


@lifespan
@asynccontextmanager
async def managed() -> AsyncIterator[Pool]:
    yield Pool()


@asynccontextmanager
@lifespan
async def managed_outside() -> AsyncIterator[Pool]:
    yield Pool()


@lifespan
def returned() -> AbstractAsyncContextManager[Pool]:
    return managed()


@pytest.mark.parametrize("function", [iterator, generator, managed, managed_outside, returned])
def test_any_form_of_async_context_manager_will_do(function: Callable[..., Any]) -> None:
    (found,) = lifespans_of(module(function))

    async def test() -> Any:
        resources = Resources()
        await resources.open([found])
        value = resources.inject({"pool": found})["pool"]
        await resources.close()
        return value

    assert found.provides is Pool
    assert isinstance(asyncio.run(test()), Pool)


def test_unmarked_functions_are_no_lifespans() -> None:
    async def unmarked() -> AsyncIterator[Pool]:
        yield Pool()

    assert lifespans_of(module(unmarked)) == ()


async def parametrised(size: int) -> AsyncIterator[Pool]:
    yield Pool()


async def unannotated():  # type: ignore[no-untyped-def]  # noqa: ANN201  # what is tested
    yield Pool()


async def unresolvable() -> AsyncIterator["Nowhere"]:  # type: ignore[name-defined]  # noqa: F821  # what is tested
    yield Pool()


async def text() -> AsyncIterator[str]:
    yield ""


async def table() -> AsyncIterator[dict[str, int]]:
    yield {}


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (parametrised, "takes no parameters"),
        (unannotated, r"annotate it -> AsyncIterator\[TheResource\]"),
        (unresolvable, "cannot be resolved: name 'Nowhere'"),
        (text, "also the type of plain params"),
        (table, "also the type of plain params"),
        (Pool, "marks async generator functions"),
    ],
)
def test_a_function_that_cannot_serve_is_told_why(function: Callable[..., Any], told: str) -> None:
    marked = ModuleType("made")
    setattr(marked, function.__name__, lifespan(function))
    try:
        with pytest.raises(TargetError, match=told):
            lifespans_of(marked)
    finally:
        delattr(function, "__narrator_lifespan__")


def test_two_sources_of_one_type_are_refused() -> None:
    with pytest.raises(TargetError, match=r"and so does .*\(iterator\)"):
        lifespans_of(module(iterator, generator))


def test_a_new_type_of_plain_data_is_a_resource() -> None:
    @lifespan
    async def token() -> AsyncIterator[Token]:
        yield Token("t")

    (found,) = lifespans_of(module(token))
    assert found.provides is Token


def test_an_operation_needs_what_it_takes_and_what_is_opened_for_its_effect() -> None:
    @operation
    def takes(pool: Pool, x: int = 1) -> None: ...

    history: list[str] = []
    pool, model = source_of(Pool, history, "a"), source_of(Model, history, "b")
    effect = source_of(None, history, "c")
    mark = mark_of(takes)
    assert mark is not None
    target = Target(module=__name__, attribute="takes")
    made = build(takes, mark, target=target, lifespans=[pool, model, effect])

    assert made.needs == made.lifespans == (pool, effect)
    assert made.injected == {"pool": pool}


def test_the_server_opens_nothing_for_a_process() -> None:
    @operation(isolation="process")
    def takes(pool: Pool) -> None: ...

    pool = source_of(Pool, [], "a")
    mark = mark_of(takes)
    assert mark is not None
    target = Target(module=__name__, attribute="takes")
    made = build(takes, mark, target=target, lifespans=[pool])

    assert (made.needs, made.lifespans) == ((pool,), ())


def test_a_context_is_never_a_resource() -> None:
    @operation
    def takes(job: JobContext) -> None: ...

    mark = mark_of(takes)
    assert mark is not None
    made = build(takes, mark, target=Target(module=__name__, attribute="takes"))
    assert made.injected == {}

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field

from app.handlers.context import JobContext
from app.handlers.errors import TargetError
from app.handlers.schema import Signature, read_signature
from app.jobs.errors import InvalidParams

if TYPE_CHECKING:
    from decimal import Decimal


class Color(StrEnum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


class Scene(BaseModel):
    """A model."""

    name: str
    layers: int = 1


@dataclass
class Size:
    """A dataclass."""

    width: int
    height: int


class Pool:
    """A resource."""


Token = NewType("Token", str)


def read(function: Callable[..., Any]) -> Signature:
    return read_signature("tested", function, [Pool, Token])


def render(scene: str, frames: int = 24, *, job: JobContext) -> None: ...


def problems(function: Callable[..., Any], params: dict[str, Any]) -> list[dict[str, Any]]:
    with pytest.raises(InvalidParams) as caught:
        read(function).validate(params)
    assert caught.value.operation == "tested"
    return [dict(each) for each in caught.value.errors]


def test_the_signature_is_the_schema() -> None:
    assert read(render).schema == {
        "title": "tested",
        "type": "object",
        "properties": {
            "scene": {"title": "Scene", "type": "string"},
            "frames": {"title": "Frames", "type": "integer", "default": 24},
        },
        "required": ["scene"],
        "additionalProperties": False,
    }


def test_what_was_not_given_stays_out_of_the_record_and_gets_its_default_in_the_call() -> None:
    signature = read(render)

    assert signature.validate({"scene": "barn"}) == {"scene": "barn"}
    assert signature.values({"scene": "barn"}) == {"scene": "barn", "frames": 24}


def test_params_are_converted_as_the_annotation_says() -> None:
    assert read(render).validate({"scene": "barn", "frames": "3"}) == {"scene": "barn", "frames": 3}


def test_a_missing_param_is_named() -> None:
    assert problems(render, {}) == [{"loc": ["scene"], "message": "scene: is required"}]


def test_an_unknown_param_is_answered_with_the_known_ones() -> None:
    assert problems(render, {"scene": "x", "frmes": 1}) == [
        {
            "loc": ["frmes"],
            "message": "frmes: there is no such parameter; the parameters are: scene, frames",
        }
    ]


def test_every_problem_is_told_at_once() -> None:
    told = problems(render, {"frames": "many", "x": 1})

    assert [each["loc"] for each in told] == [["scene"], ["frames"], ["x"]]


def test_the_legal_values_of_a_choice_are_told() -> None:
    def paint(color: Color, mode: Literal["fast", "slow"]) -> None: ...

    told = problems(paint, {"color": "green", "mode": "medium"})
    assert told == [
        {"loc": ["color"], "message": "color: Input should be 'red' or 'blue'"},
        {"loc": ["mode"], "message": "mode: Input should be 'fast' or 'slow'"},
    ]


def test_a_problem_deep_inside_is_told_with_its_path() -> None:
    def draw(scene: Scene) -> None: ...

    assert problems(draw, {"scene": {"name": 1}})[0]["loc"] == ["scene", "name"]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_refused(number: float) -> None:
    def weigh(kilograms: float = 0, anything: Any = None) -> None: ...

    assert problems(weigh, {"kilograms": number})[0]["loc"] == ["kilograms"]
    assert "JSON cannot carry" in problems(weigh, {"anything": [number]})[0]["message"]


@pytest.mark.parametrize("value", ["\ud800", {"deep": "\udfff"}, {"\ud800": 1}])
def test_text_that_is_no_unicode_is_refused(value: Any) -> None:
    def take(anything: Any) -> None: ...

    assert "JSON cannot carry" in problems(take, {"anything": value})[0]["message"]


def test_values_nested_too_deeply_are_refused() -> None:
    def take(anything: Any) -> None: ...

    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert problems(take, {"anything": deep})


def test_a_validator_that_raises_anything_is_bad_input() -> None:
    def explode(value: int) -> int:
        raise LookupError(f"no {value}")

    def take(value: Annotated[int, AfterValidator(explode)]) -> None: ...

    assert problems(take, {"value": 1}) == [{"loc": [], "message": "LookupError: no 1"}]


def test_rich_types_make_the_round_trip() -> None:
    def draw(
        *, scene: Scene, size: Size, at: datetime, to: Path, colors: set[Color], data: bytes
    ) -> None: ...

    signature = read(draw)
    given_params = {
        "scene": {"name": "barn"},
        "size": {"width": 1, "height": 2},
        "at": "2026-01-01T00:00:00Z",
        "to": "/tmp/x",
        "colors": ["red"],
        "data": "abc",
    }
    canonical = signature.validate(given_params)
    assert json.loads(json.dumps(canonical)) == canonical
    assert signature.values(canonical) == {
        "scene": Scene(name="barn"),
        "size": Size(1, 2),
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "to": Path("/tmp/x"),
        "colors": {Color.RED},
        "data": b"abc",
    }
    assert signature.validate(canonical) == canonical


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)


@given(json_values)
def test_any_json_is_its_own_canonical_form(value: Any) -> None:
    def take(anything: Any) -> None: ...

    assert read(take).validate({"anything": value}) == {"anything": value}


@given(st.dictionaries(st.text(max_size=10), json_values, max_size=4))
def test_validation_gives_params_or_invalid_params_and_nothing_else(params: dict[str, Any]) -> None:
    def take(frames: int = 1, scene: str = "", sizes: list[float] | None = None) -> None: ...

    try:
        canonical = read(take).validate(params)
    except InvalidParams as error:
        canonical = {"errors": [dict(each) for each in error.errors]}
    json.dumps(canonical, allow_nan=False)


def test_params_may_have_names_that_a_model_could_not() -> None:
    def odd(
        schema: int, _hidden: int = 2, model_dump: int = 3, json: int = 4, p0: int = 5
    ) -> None: ...

    signature = read(odd)
    assert list(signature.schema["properties"]) == ["schema", "_hidden", "model_dump", "json", "p0"]
    assert signature.values({"schema": 1}) == {
        "schema": 1,
        "_hidden": 2,
        "model_dump": 3,
        "json": 4,
        "p0": 5,
    }


def test_bounds_and_descriptions_of_a_field_are_kept() -> None:
    def take(
        frames: Annotated[int, Field(ge=1, description="how many")], rate: float = Field(2.5, gt=0)
    ) -> None: ...

    signature = read(take)
    assert signature.schema["properties"]["frames"] == {
        "title": "Frames",
        "type": "integer",
        "minimum": 1,
        "description": "how many",
    }
    assert signature.values({"frames": 1}) == {"frames": 1, "rate": 2.5}
    assert problems(take, {"frames": 0})[0]["loc"] == ["frames"]
    assert problems(take, {"frames": 1, "rate": 0})[0]["loc"] == ["rate"]


def test_a_param_without_annotation_takes_anything() -> None:
    def take(anything, default=3): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # what is tested

    assert read(take).values({"anything": [1]}) == {"anything": [1], "default": 3}


def test_a_mutable_default_is_not_shared_between_calls() -> None:
    def take(items: list[int] = []) -> None: ...  # noqa: B006  # what is tested

    signature = read(take)
    signature.values({})["items"].append(1)

    assert signature.values({}) == {"items": []}


@pytest.mark.parametrize("hint", [JobContext, JobContext | None, Annotated[JobContext, "mine"]])
def test_the_context_is_no_param_however_it_is_annotated(hint: Any) -> None:
    def take(job): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # annotated below

    take.__annotations__["job"] = hint
    signature = read(take)
    assert signature.contexts == {"job"}
    assert signature.schema["properties"] == {}


def test_resources_are_no_params() -> None:
    def take(scene: str, pool: Pool, token: Token) -> None: ...

    signature = read(take)
    assert signature.resources == {"pool": Pool, "token": Token}
    assert list(signature.schema["properties"]) == ["scene"]


def test_annotations_may_be_text() -> None:
    def take(scene: "Scene", *, job: "JobContext") -> None: ...

    assert read(take).contexts == {"job"}


def test_an_annotation_that_cannot_be_resolved_is_named() -> None:
    def take(price: "Decimal") -> None: ...

    with pytest.raises(TargetError, match=r"parameter 'price' cannot be resolved.*TYPE_CHECKING"):
        read(take)


def test_an_unresolvable_return_annotation_matters_to_nobody() -> None:
    def take(price: int) -> "Decimal": ...  # type: ignore[empty-body]  # only its signature is read

    assert read(take).values({"price": 1}) == {"price": 1}


def test_a_type_that_is_neither_data_nor_resource_is_named_with_what_would_be() -> None:
    class Connection: ...

    def take(connection: Connection) -> None: ...

    with pytest.raises(TargetError, match=r"'connection' has the type .*Connection.*Pool"):
        read(take)


def test_a_type_without_json_schema_is_named() -> None:
    def take(call: Callable[[], int]) -> None: ...

    with pytest.raises(TargetError, match="parameter 'call'"):
        read(take)


def positional_only(scene: str, /) -> None: ...


def any_positional(*scenes: str) -> None: ...


def any_keyword(**scenes: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (positional_only, "scene: str is positional-only"),
        (any_positional, r"\*scenes: str takes any positional"),
        (any_keyword, r"\*\*scenes: str takes any keyword"),
    ],
)
def test_parameters_that_cannot_be_given_by_name_are_refused(
    function: Callable[..., Any], told: str
) -> None:
    with pytest.raises(TargetError, match=told):
        read(function)


def test_an_error_names_file_line_and_function() -> None:
    with pytest.raises(TargetError, match=rf"{__file__}:\d+ \(positional_only\)"):
        read(positional_only)

"""A handler's signature is its schema: parameters become a pydantic model and a JSON Schema.

Parameters annotated `JobContext`, or with the type that a `@lifespan` function yields, are injected
and are no part of the schema. This module knows no decorator and no engine.
"""

import inspect
import json
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError

from app.handlers.context import JobContext
from app.handlers.errors import TargetError
from app.jobs.errors import FieldError, InvalidParams, field_error

_CONFIG: Final = ConfigDict(
    extra="forbid",
    allow_inf_nan=False,
    ser_json_inf_nan="constants",  # inside `Any`: kept, so that it is refused and not made null
)
_UNBINDABLE: Final[Mapping[Any, str]] = {
    inspect.Parameter.POSITIONAL_ONLY: "is positional-only; params are given by name",
    inspect.Parameter.VAR_POSITIONAL: "takes any positional arguments; params are given by name",
    inspect.Parameter.VAR_KEYWORD: "takes any keyword; name each parameter, or take one dict",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a handler takes: params (by `model`), its context, and resources by type.

    `fields` names the model's field of each param: a param may have a name that a pydantic field
    cannot have. `schema` is the JSON Schema (2020-12) of the params. `optional` says that none has
    to be given: then there is nothing to look at where none is.
    """

    model: type[BaseModel]
    fields: Mapping[str, str]
    contexts: frozenset[str]
    resources: Mapping[str, Any]
    schema: Mapping[str, Any]
    optional: bool

    def validate(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The given `params` in canonical JSON form; what was not given stays out.

        Raises:
            InvalidParams: with one `{loc, message}` for each problem.

        """
        if not params and self.optional:
            return {}
        model = self._parse(params)
        try:
            given = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
            json.dumps(given, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, TypeError, RecursionError) as error:
            message = f"JSON cannot carry the params: {error}"
            raise self._invalid([field_error(message)]) from None
        return given

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments, Python-typed and with defaults, for canonical `params`.

        Raises:
            InvalidParams: they do not fit (any more).

        """
        if not self.fields and not params:
            return {}
        model = self._parse(params)
        return {name: getattr(model, field) for name, field in self.fields.items()}

    def _parse(self, params: Mapping[str, Any]) -> BaseModel:
        try:
            return self.model.model_validate(dict(params))
        except ValidationError as error:
            raise self._invalid(self._problems(error)) from None
        except Exception as error:  # a validator of the user's own types: bad input, not our fault
            message = f"{type(error).__name__}: {error}"
            raise self._invalid([field_error(message)]) from error

    def _invalid(self, errors: list[FieldError]) -> InvalidParams:
        return InvalidParams(errors, operation=self.model.__name__)

    def _problems(self, error: ValidationError) -> list[FieldError]:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        return [field_error(self._message(each), *each["loc"]) for each in found]

    def _message(self, problem: Mapping[str, Any]) -> str:
        """The words of pydantic, and where they do not say what is legal, ours."""
        path = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
            legal = ", ".join(self.fields) or "none"
            return f"{path}: there is no such parameter; the parameters are: {legal}"
        if problem["type"] == "missing":
            return f"{path}: is required"
        return f"{path}: {problem['msg']}" if path else str(problem["msg"])


def read_signature(
    name: str, function: Callable[..., Any], resource_types: Collection[Any]
) -> Signature:
    """The signature of `function`, an operation called `name`.

    Raises:
        TargetError: a parameter cannot be given by name, or its type is neither JSON nor a
            resource; the message says which and what to do.

    """
    parameters = inspect.signature(function).parameters
    hints = _hints(function, parameters)
    contexts: set[str] = set()
    resources: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    fields: dict[str, str] = {}
    for parameter in parameters.values():
        if parameter.kind in _UNBINDABLE:
            problem = _UNBINDABLE[parameter.kind]
            raise TargetError(where(function), f"parameter {parameter} {problem}")
        hint = hints.get(parameter.name, Any)
        bare = _bare(hint)
        if bare is JobContext:
            contexts.add(parameter.name)
        elif bare in resource_types:
            resources[parameter.name] = bare
        else:
            field = f"p{len(fields)}"  # a param may be called `schema` or `_x`, a field may not
            fields[parameter.name] = field
            definitions[field] = _definition(function, parameter, hint, resource_types)
    model, schema = _model(name, function, definitions)
    return Signature(
        model=model,
        fields=fields,
        contexts=frozenset(contexts),
        resources=resources,
        schema=schema,
        optional=_is_optional(model),
    )


def where(function: Callable[..., Any]) -> str:
    """Where a function is written, for messages: `path:line (name)`."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    name = getattr(function, "__qualname__", repr(function))
    return f"{code.co_filename}:{code.co_firstlineno} ({name})" if code else name


def annotations_of(function: Callable[..., Any], names: Collection[str]) -> dict[str, Any]:
    """The resolved annotations of `function` called `names`, one by one.

    Raises:
        NameError, or whatever else evaluating an annotation raises.

    """
    inner = inspect.unwrap(function)
    written = getattr(inner, "__annotations__", {})
    wanted = {name: written[name] for name in names if name in written}
    holder = types.SimpleNamespace(__annotations__=wanted)
    scope = getattr(inner, "__globals__", {})
    return typing.get_type_hints(holder, globalns=scope, include_extras=True)


def _hints(
    function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]
) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for name in parameters:  # one by one, so that the message names the parameter
        try:
            hints.update(annotations_of(function, [name]))
        except Exception as error:
            raise TargetError(
                where(function),
                f"the annotation of parameter {name!r} cannot be resolved: {error} "
                "(types must be importable at run time, not only under TYPE_CHECKING)",
            ) from error
    return hints


def _bare(hint: Any) -> Any:
    """`hint` without `Annotated[...]` and without `| None`."""
    if typing.get_origin(hint) is Annotated:
        return _bare(typing.get_args(hint)[0])
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        options = [each for each in typing.get_args(hint) if each is not type(None)]
        return _bare(options[0]) if len(options) == 1 else hint
    return hint


def _definition(
    function: Callable[..., Any],
    parameter: inspect.Parameter,
    hint: Any,
    resource_types: Collection[Any],
) -> Any:
    """A field for one param, probed alone so that the message can name it."""
    default = ... if parameter.default is inspect.Parameter.empty else parameter.default
    definition: Any = (Annotated[hint, Field(alias=parameter.name)], default)
    try:
        probe = create_model("probe", __config__=_CONFIG, p=definition)
        probe.model_json_schema(by_alias=True)
    except (PydanticUserError, TypeError, ValueError) as error:
        known = ", ".join(_type_name(each) for each in resource_types) or "none"
        raise TargetError(
            where(function),
            f"parameter {parameter.name!r} has the type {_type_name(hint)}, which is neither JSON "
            f"data nor a resource that a @lifespan function of its module yields (those are: "
            f"{known}): {str(error).splitlines()[0]}",
        ) from error
    return definition


def _model(
    name: str, function: Callable[..., Any], definitions: dict[str, Any]
) -> tuple[type[BaseModel], dict[str, Any]]:
    try:
        model: type[BaseModel] = create_model(name, __config__=_CONFIG, **definitions)
        schema = model.model_json_schema(by_alias=True)
        json.dumps(schema, allow_nan=False)
    except (PydanticUserError, TypeError, ValueError) as error:
        raise TargetError(
            where(function), f"its parameters make no JSON Schema: {error}"
        ) from error
    return model, schema


def _is_optional(model: type[BaseModel]) -> bool:
    """Whether no param has to be given: tried, since defaults may be validated too."""
    try:
        model.model_validate({})
    except Exception:  # noqa: BLE001  # a validator of the user's own types
        return False
    return True


def _type_name(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint)

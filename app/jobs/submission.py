"""What a client may ask for: the body of a submission, and of a retry with changes.

Bounds that hold on every server are here; those that a server's settings make are in `policy`.
Numbers are strict (no "5", no true), finite, and never absurd. It knows no operation: whether there
is one of that name, and whether the params fit it, is found out later.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from app.jobs.encoding import NotJsonError, encode_json
from telemetry.names import Priority, Start

MAX_TAGS: Final = 32
MAX_TAG_KEY: Final = 64
MAX_TAG_VALUE: Final = 256
MAX_KEY: Final = 256
MAX_OPERATION: Final = 128
MAX_METADATA_BYTES: Final = 16 * 1024
MAX_SECONDS: Final = 366 * 86_400.0
"""Beyond any server's own limit, and far from where clocks overflow."""
MAX_MULTIPLIER: Final = 1000.0


def _json(value: dict[str, Any]) -> dict[str, Any]:
    try:
        encode_json(value)
    except NotJsonError as error:
        raise ValueError(f"must be JSON: {error}") from None
    return value


def _small(value: dict[str, Any]) -> dict[str, Any]:
    size = len(encode_json(value))
    if size > MAX_METADATA_BYTES:
        raise ValueError(f"must have at most {MAX_METADATA_BYTES} bytes of JSON; it has {size}")
    return value


_NO_CONTROLS: Final = r"^[^\x00-\x1f\x7f]*$"
_NO_CONTROLS_NO_COLON: Final = r"^[^:\x00-\x1f\x7f]*$"

Seconds = Annotated[float, Field(strict=True, gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
Delay = Annotated[float, Field(strict=True, ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
OperationName = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=MAX_OPERATION, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$"
    ),
]
TagKey = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_TAG_KEY, pattern=_NO_CONTROLS_NO_COLON)
]
TagValue = Annotated[str, StringConstraints(max_length=MAX_TAG_VALUE, pattern=_NO_CONTROLS)]
ConcurrencyKey = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_KEY, pattern=_NO_CONTROLS)
]
Params = Annotated[dict[str, Any], AfterValidator(_json)]
Metadata = Annotated[dict[str, Any], AfterValidator(_json), AfterValidator(_small)]


class RetryOptions(BaseModel):
    """How to retry; what is left out is the operation's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_attempts: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = Field(
        default=None, description="Attempts in all, the first one included."
    )
    base_delay_s: Delay | None = Field(
        default=None, description="Seconds before the second attempt, before jitter."
    )
    multiplier: (
        Annotated[float, Field(strict=True, ge=1, le=MAX_MULTIPLIER, allow_inf_nan=False)] | None
    ) = Field(default=None, description="Growth of the delay from attempt to attempt.")
    max_delay_s: Delay | None = Field(
        default=None, description="Seconds beyond which the delay does not grow."
    )
    jitter: Literal["full", "none"] | None = Field(
        default=None,
        description="`full` draws the delay between nothing and its length; `none` does not.",
    )


class _Common(BaseModel):
    """The fields that a submission and a retry share; all may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    params: Params = Field(
        default={}, description="Arguments of the operation, by its own JSON Schema."
    )
    priority: Priority | None = Field(
        default=None, description="Which jobs go first; the operation's own, else `normal`."
    )
    tags: Annotated[dict[TagKey, TagValue], Field(max_length=MAX_TAGS)] = Field(
        default={}, description="Labels to find the job by; a key has no colon."
    )
    metadata: Metadata = Field(
        default={}, description="Anything that the client wants to find again; at most 16 KiB."
    )
    start: Start = Field(
        default=Start.ON_SUBMIT,
        description="Queue at once, or when the first stream attaches.",
    )
    attach_timeout_s: Seconds | None = Field(
        default=None,
        description="Seconds that an `on_stream` job waits for its first stream before it expires.",
    )
    timeout_s: Seconds | None = Field(default=None, description="Seconds for one attempt.")
    queue_timeout_s: Seconds | None = Field(
        default=None, description="Seconds from queueing to the first start."
    )
    deadline_s: Seconds | None = Field(
        default=None, description="Seconds from creation to the end, retries included."
    )
    retry: RetryOptions | None = Field(
        default=None, description="Laid over the operation's own policy, field by field."
    )
    concurrency_key: ConcurrencyKey | None = Field(
        default=None,
        description="Jobs with the same key run one at a time, unless the operation allows more.",
    )
    cancel_when_unwatched: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Cancel when the last watcher has left and not come back."
    )


class Submission(_Common):
    """A job to run: the body of `POST /jobs`."""

    operation: OperationName = Field(description="What to run; `GET /operations` lists them.")


class RetryChanges(_Common):
    """What a retry changes: fields replace those of the old job, `params` are merged by key.

    A field that is null goes back to the operation's own.
    """

    operation: OperationName | None = Field(default=None, description="Another operation.")


_HEAVY: Final = frozenset({"operation", "params", "tags", "metadata"})
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def asks_nothing(submission: Submission) -> bool:
    """Whether nothing was said but operation, params, tags and metadata."""
    return submission.model_fields_set <= _HEAVY


def asked_of(submission: Submission) -> Mapping[str, Any]:
    """What was said beside operation, params, tags and metadata, which a job keeps as they are."""
    if asks_nothing(submission):
        return _NOTHING
    return submission.model_dump(mode="json", exclude_unset=True, exclude=set(_HEAVY))


def changed(before: Submission, changes: RetryChanges | None) -> Submission:
    """The submission `before` with the changes laid over it."""
    old = before.model_dump(mode="json", exclude_unset=True)
    new = changes.model_dump(mode="json", exclude_unset=True) if changes else {}
    merged = {**old, **new}
    merged["params"] = {**old.get("params", {}), **new.get("params", {})}
    merged["operation"] = new.get("operation") or old["operation"]
    return Submission.model_validate(merged)

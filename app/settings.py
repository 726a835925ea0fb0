"""Every setting of the server, typed, in one place: flags over environment over file over default.

A setting has one name: `queue_limit` is the flag `--queue-limit` where there is one, the variable
`NARRATOR_QUEUE_LIMIT` and the key `queue_limit` in `narrator.toml`. This module alone reads the
environment (OpenTelemetry's own variables and the client's excepted). It does not know who uses a
setting. It is longer than other modules because it is a table: one entry for each setting.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

ENVIRONMENT_PREFIX: Final = "NARRATOR_"
CONFIG_VARIABLE: Final = "NARRATOR_CONFIG"
"""Names the settings file; without it, `narrator.toml` in the working directory, if there."""
CONFIG_FILE: Final = "narrator.toml"
CLIENT_VARIABLES: Final = frozenset(
    {CONFIG_VARIABLE, "NARRATOR_SERVER", "NARRATOR_KEY", "NARRATOR_JOB"}
)
"""Variables with our prefix that are no settings of the server; NARRATOR_JOB marks a job's own
processes (`narration.process`)."""
MASK: Final = "********"
MIN_SECRET: Final = 4
"""Characters; a shorter secret would mask half of every text."""
TRACE_PLACEHOLDER: Final = "{trace_id}"
OPERATION_PLACEHOLDER: Final = "{operation}"
LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "::1")

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_DAY_S: Final = 86_400
_ORIGINS: Final = "__origins__"


class Origin(StrEnum):
    """Where the value of a setting came from, strongest first."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


class SettingsError(ValueError):
    """A setting is wrong; the message says which, where it came from and what is legal."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One setting as `narrator settings` tells it; secrets are masked."""

    name: str
    value: Any
    origin: Origin
    unit: str
    description: str

    @property
    def variable(self) -> str:
        """The environment variable of this setting."""
        return ENVIRONMENT_PREFIX + self.name.upper()


def _listed(separator: str) -> BeforeValidator:
    """A list from one string: a JSON array, or values between separators."""

    def split(value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except ValueError as error:
                raise ValueError(f"is not a JSON array: {error}") from error
        return [part.strip() for part in value.split(separator) if part.strip()]

    return BeforeValidator(split)


def _address(placeholder: str) -> AfterValidator:
    """A URL for a browser with one placeholder in it; braces of its own are percent-encoded."""

    def check(value: str | None) -> str | None:
        if value is None:
            return None
        if not value.startswith(("http://", "https://")) or not urlsplit(value).hostname:
            raise ValueError("must be an address that begins with http:// or https://")
        if placeholder not in value:
            raise ValueError(f"must have {placeholder} in it")
        unknown = re.search(r"\{[^{}]*\}|[{}]", value.replace(placeholder, ""))
        if unknown:
            raise ValueError(
                f"must have no placeholder but {placeholder}, and has {unknown[0]} "
                "(write other braces as %7B and %7D)"
            )
        return value

    return AfterValidator(check)


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    """Origins as a browser sends them (RFC 6454, section 6.2); `*` would be every page there is."""
    for each in value:
        parts = urlsplit(each)
        if (
            parts.scheme not in {"http", "https"}
            or each != f"{parts.scheme}://{parts.netloc}".lower()
        ):
            raise ValueError(
                f"must be origins such as https://app.example.com, without a path, not {each!r}"
            )
        if not parts.hostname or "*" in each or "@" in each:
            raise ValueError(f"must be origins with a host each, not {each!r}")
    return value


def _setting(default: Any, unit: str, description: str, **bounds: Any) -> Any:
    """A field with its unit; numbers are finite."""
    return Field(
        default=default,
        description=description,
        json_schema_extra={"unit": unit},
        allow_inf_nan=False if isinstance(default, float) else None,
        **bounds,
    )


class Settings(BaseSettings):
    """All settings of one server. Making one reads the environment and the settings file.

    Raises:
        SettingsError: the file cannot be read or has an unknown key.
        pydantic.ValidationError: a value is of the wrong type or out of range.
            `load` turns it into a `SettingsError`.

    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
        validate_default=False,
    )

    # --- where it listens -------------------------------------------------------------------------
    host: str = _setting("127.0.0.1", "address", "Address to listen on.", min_length=1)
    port: int = _setting(8000, "port", "Port to listen on; 0 takes a free one.", ge=0, le=65_535)
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, _listed(",")] = _setting(
        LOOPBACK_HOSTS,
        "host names",
        "Names accepted in the Host header, without port; the bound host is always accepted, "
        "and * accepts every name.",
    )

    # --- connections ------------------------------------------------------------------------------
    max_connections: int = _setting(
        10_000,
        "connections",
        "Connections at once, streams included. For a new one an idle one is closed, and where "
        "there is none it gets 503. At most what the system's limit on open files leaves.",
        ge=1,
        le=10_000_000,
    )
    request_head_s: float = _setting(
        10.0, "seconds", "How long a client may take to send a request's head.", ge=0.05, le=3600
    )
    request_body_s: float = _setting(
        30.0, "seconds", "How long it may then take to send the body.", ge=0.05, le=_DAY_S
    )
    keep_alive_s: int = _setting(
        5,
        "seconds",
        "How long a connection may be idle between two requests; behind a proxy, more than the "
        "proxy keeps it.",
        ge=1,
        le=3600,
    )
    unread_s: float = _setting(
        60.0,
        "seconds",
        "How long a client may read nothing of an answer that waits for it, before it is cut.",
        ge=0.05,
        le=_DAY_S,
    )

    # --- who may use it ---------------------------------------------------------------------------
    keys: Path | None = _setting(
        None,
        "path",
        "The keys file (narrator keys makes it); without one, every caller may do everything.",
    )
    allow_anonymous: bool = _setting(
        False,
        "true or false",
        "Serve other machines without a keys file: whoever reaches the address may do everything.",
    )
    stream_token_s: float = _setting(
        60.0, "seconds", "How long a stream token opens its stream.", ge=1, le=3600
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, _listed(","), AfterValidator(_origins)] = (
        _setting(
            (),
            "origins",
            "Origins, such as https://app.example.com, whose pages may call this server from a "
            "browser; by default none.",
        )
    )
    metrics_access: Literal["admin", "open"] = _setting(
        "admin", "word", "Who may read /metrics where there are keys: those with admin, or all."
    )
    docs_access: Literal["admin", "open", "off"] = _setting(
        "admin",
        "word",
        "Who may read /docs and /openapi.json where there are keys: those with admin, or all; off, "
        "they are not there.",
    )

    # --- what one tenant may have -----------------------------------------------------------------
    tenant_rate: float = _setting(
        0.0,
        "jobs a second",
        "Jobs that one tenant may submit in a second; more are refused with 429. 0: any number.",
        ge=0,
        le=1_000_000,
    )
    tenant_burst: int = _setting(
        0,
        "jobs",
        "Jobs that one tenant may submit at once within its rate; 0: as many as in a second.",
        ge=0,
        le=1_000_000,
    )
    tenant_queued: int = _setting(
        0,
        "jobs",
        "Jobs of one tenant that may wait, deferred and retrying ones included; more are refused "
        "with 429. 0: as many as QUEUE_LIMIT leaves.",
        ge=0,
        le=10_000_000,
    )
    tenant_running: int = _setting(
        0,
        "slots",
        "Jobs of one tenant that run at the same time; more wait. 0: as many as there are slots.",
        ge=0,
        le=100_000,
    )
    tenant_streams: int = _setting(
        0,
        "streams",
        "Streams of one tenant that may be open; more are refused with 429. 0: any number.",
        ge=0,
        le=10_000_000,
    )

    # --- running jobs -----------------------------------------------------------------------------
    concurrency: int = _setting(32, "slots", "Jobs that run at the same time.", ge=1, le=100_000)
    queue_limit: int = _setting(
        10_000,
        "jobs",
        "Jobs that may wait, deferred and retrying ones included; more are refused with 429.",
        ge=1,
        le=10_000_000,
    )
    max_timeout_s: float = _setting(
        float(_DAY_S),
        "seconds",
        "The longest timeout, deadline or delay that a job may ask for; above is a 422.",
        gt=0,
        le=366.0 * _DAY_S,
    )
    max_attempts: int = _setting(
        100, "attempts", "The most attempts that a job may ask for.", ge=1, le=1_000_000
    )
    retry_later_limit: int = _setting(
        100, "times", "How often one job may raise RetryLater.", ge=0, le=1_000_000
    )
    cancel_grace_s: float = _setting(
        5.0,
        "seconds",
        "How long a handler may take to stop when cancelled or timed out before it is abandoned.",
        ge=0.05,  # less than a stop takes that is obeyed at once
        le=3600,
    )
    blocked_loop_s: float = _setting(
        0.5,
        "seconds",
        "How late the event loop may be before what keeps it is logged, counted and narrated.",
        ge=0.05,
        le=3600,
    )
    unwatched_grace_s: float = _setting(
        10.0,
        "seconds",
        "How long a job with cancel_when_unwatched waits for a watcher to come back.",
        ge=0,
        le=_DAY_S,
    )
    drain_s: float = _setting(
        30.0,
        "seconds",
        "How long running jobs may finish after SIGTERM before they are cancelled.",
        ge=0,
        le=_DAY_S,
    )
    roots: Annotated[tuple[Path, ...], NoDecode, _listed(os.pathsep)] = _setting(
        (),
        "paths",
        "Folders that the built-in operations may read; without any, the working directory.",
    )

    # --- what is kept -----------------------------------------------------------------------------
    retention_s: float = _setting(
        3600.0, "seconds", "How long a finished job stays readable.", ge=0, le=366.0 * _DAY_S
    )
    retention_jobs: int = _setting(
        1000, "jobs", "Finished jobs that are kept.", ge=0, le=10_000_000
    )
    retention_bytes: int = _setting(
        256 * _MIB, "bytes", "Memory for the stories of finished jobs.", ge=0, le=1 << 50
    )
    log_limit: int = _setting(
        10_000, "events", "Events kept for one job; older ones become a gap.", ge=16, le=10_000_000
    )
    log_bytes: int = _setting(
        16 * _MIB,
        "bytes",
        "Memory for the events of one job; older ones become a gap, the newest one always stays.",
        ge=4 * _KIB,
        le=1 << 40,
    )
    span_limit: int = _setting(
        1000, "spans", "Spans kept for the trace of one job.", ge=8, le=1_000_000
    )
    feed_limit: int = _setting(
        10_000,
        "events",
        "State changes of all jobs kept for GET /v1/stream.",
        ge=16,
        le=10_000_000,
    )

    store: Path | None = _setting(
        None,
        "path",
        "File in which jobs and their stories outlive the server (SQLite, on a local disk; made if "
        "it is not there); without one they live in memory.",
    )
    store_sync: Literal["normal", "full"] = _setting(
        "normal",
        "word",
        "What is committed outlives a kill of the server (normal), or a loss of power, too (full).",
    )

    # --- sizes ------------------------------------------------------------------------------------
    max_body_bytes: int = _setting(
        _MIB, "bytes", "The largest request body; above is a 413.", ge=64, le=1 << 30
    )
    max_message_bytes: int = _setting(
        64 * _KIB, "bytes", "The longest text of one message; longer is cut.", ge=64, le=1 << 26
    )
    max_result_bytes: int = _setting(
        _MIB, "bytes", "The largest result; a larger one fails the attempt.", ge=64, le=1 << 30
    )

    # --- the stream -------------------------------------------------------------------------------
    heartbeat_s: float = _setting(
        15.0, "seconds", "Time between two heartbeats on a silent stream.", ge=0.05, le=3600
    )
    progress_interval_s: float = _setting(
        0.1, "seconds", "Progress within this time is told once.", ge=0, le=60
    )

    # --- telemetry --------------------------------------------------------------------------------
    narration: bool = _setting(
        True,
        "true or false",
        "Tell jobs' stories; off, a stream has states, progress, output and the end alone, and "
        "/trace is empty. (Tracing is off with OTEL_SDK_DISABLED=true.)",
    )
    metrics: bool = _setting(
        True,
        "true or false",
        "Count for Prometheus; off, nothing is counted and /metrics is a 404.",
    )
    trace_url: Annotated[str | None, _address(TRACE_PLACEHOLDER)] = _setting(
        None,
        "URL",
        "Address of a trace in your viewer, with {trace_id} in it, such as "
        "http://localhost:16686/trace/{trace_id} for Jaeger; each record links to it.",
    )
    dashboard_url: Annotated[str | None, _address(OPERATION_PLACEHOLDER)] = _setting(
        None,
        "URL",
        "Address of an operation's metrics in your viewer, with {operation} in it, such as "
        "http://localhost:3000/d/narrator-jobs?var-operation={operation} for Grafana; "
        "each record links to it.",
    )
    trace_parent: Literal["parent", "link"] = _setting(
        "parent",
        "word",
        "What the caller's span is to the job's: its parent, or a link of a trace of its own.",
    )
    fast_events: bool = _setting(
        True,
        "true or false",
        "Make spans and events with plain attributes without the SDK's cleaning, half their cost.",
    )
    log_events: bool = _setting(
        False,
        "true or false",
        "Also emit each narration message as an OpenTelemetry log record, for backends that drop "
        "the events of spans; a message then costs the event loop six times as much.",
    )
    telemetry_shutdown_s: float = _setting(
        5.0, "seconds", "How long the exporter may take to flush at exit.", ge=0, le=600
    )
    secrets: Annotated[tuple[SecretStr, ...], NoDecode, _listed(",")] = _setting(
        (), "texts", "Texts that are masked before a message or a result is kept; never printed."
    )

    _origins: Mapping[str, Origin] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 — the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 — the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, `narrator.toml`; the last one only notes who won."""
        return (
            init_settings,
            env_settings,
            _FileSource(settings_cls),
            _OriginSource(settings_cls),
        )

    @model_validator(mode="wrap")
    @classmethod
    def _note_origins(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        origins = data.pop(_ORIGINS, {}) if isinstance(data, dict) else {}
        settings = handler(data)
        settings._origins = origins  # noqa: SLF001 — its own class
        return settings

    @field_validator("secrets")
    @classmethod
    def _long_enough(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(secret.get_secret_value()) < MIN_SECRET for secret in value):
            raise ValueError(f"each must have at least {MIN_SECRET} characters")
        return value

    def sources(self) -> list[Source]:
        """Every setting with its value and where that came from; secrets are masked."""
        return [
            Source(
                name=name,
                value=_shown(getattr(self, name)),
                origin=self._origins.get(name, Origin.DEFAULT),
                unit=_unit(field),
                description=field.description or "",
            )
            for name, field in type(self).model_fields.items()
        ]

    def trace_address(self, trace_id: str) -> str | None:
        """Where to look at a trace; None if no viewer is configured."""
        return self.trace_url and self.trace_url.replace(TRACE_PLACEHOLDER, trace_id)

    def dashboard_address(self, operation: str) -> str | None:
        """Where to look at the metrics of an operation; None if no viewer is configured."""
        return self.dashboard_url and self.dashboard_url.replace(
            OPERATION_PLACEHOLDER, quote(operation, safe="")
        )


def load(flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force; `flags` that are None were not given.

    Raises:
        SettingsError: names each wrong setting, where it came from and what is legal.

    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError([_told(problem, given) for problem in error.errors()]) from None


def unknown_variables() -> list[str]:
    """A line for each variable with our prefix that names no setting: most often a typing error."""
    names = [ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields]
    return [
        f"{variable} is not a setting{_nearest(variable, names)}"
        for variable in sorted(os.environ)
        if variable.startswith(ENVIRONMENT_PREFIX)
        and variable not in names
        and variable not in CLIENT_VARIABLES
    ]


class _FileSource(InitSettingsSource):
    """`narrator.toml`, or the file that NARRATOR_CONFIG names."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        named = os.environ.get(CONFIG_VARIABLE)
        path = Path(named) if named else Path(CONFIG_FILE)
        values = _read(path) if named or path.is_file() else {}
        known = list(settings_cls.model_fields)
        unknown = [
            f"{path}: unknown setting {key!r}{_nearest(key, known)}"
            for key in values
            if key not in known
        ]
        if unknown:
            raise SettingsError(unknown)
        super().__init__(settings_cls, init_kwargs=values)


class _OriginSource(PydanticBaseSettingsSource):
    """Gives no value: it notes which of the sources before it gave each setting."""

    _BY_SOURCE: Final = {
        "_FileSource": Origin.FILE,
        "EnvSettingsSource": Origin.ENVIRONMENT,
        "InitSettingsSource": Origin.FLAG,
    }

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002 — the library's signature
        field_name: str,
    ) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        origins: dict[str, Origin] = {}
        for source, origin in self._BY_SOURCE.items():  # weakest first: the strongest stays
            for name in self.settings_sources_data.get(source, {}):
                origins[name] = origin
        return {_ORIGINS: origins}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise SettingsError([f"{path}: is not TOML: {error}"]) from None


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _told(problem: Any, flags: Mapping[str, Any]) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    variable = ENVIRONMENT_PREFIX + name.upper()
    if name in flags:
        place = f"--{name.replace('_', '-')}"
    elif variable in os.environ:
        place = variable
    else:
        place = f"{name} in {os.environ.get(CONFIG_VARIABLE, CONFIG_FILE)}"
    given = "" if name == "secrets" else f", not {problem['input']!r}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{place}: {message[:1].lower()}{message[1:]}{given}"


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_shown(each) for each in value]
    if isinstance(value, SecretStr):
        return MASK
    return str(value) if isinstance(value, Path) else value


def _unit(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""

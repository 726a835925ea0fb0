"""Who calls, and whether they may: each route says which scope it needs, and is guarded by it.

Where there is no keys file nobody is asked: every route is called as it is, and the caller is one
constant. Where there is one, a guarded route is called only with a caller in its scope, and a route
that is not guarded has none: it fails where it asks whose jobs to show. A key comes in the
Authorization header (RFC 6750), and nowhere else; the streams take a token too, which
`TokenAway` has moved out of the address. This module knows no job and no engine.
"""

from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import unquote_plus

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access import stream_tokens
from app.access.caller import Caller
from app.access.key_ring import KeyRing
from app.access.keys_file import Scope as Allowed
from app.http.problems import FORBIDDEN, INVALID, UNAUTHORIZED, Problem, refusal
from app.jobs.model import DEFAULT_TENANT

ANONYMOUS: Final = Caller(tenant=DEFAULT_TENANT, scopes=frozenset(Allowed))
"""Who calls where nobody is asked."""

TOKEN: Final = "token"  # noqa: S105 — the name of the parameter
FEED: Final = "feed"
"""The stream of all of a tenant's jobs, as tokens name it."""

_CALLER: Final = "narrator.caller"
_TOKEN: Final = "narrator.token"  # noqa: S105 — the name of a key in the ASGI scope
_STREAMS: Final = "/stream"
"""How the paths of all streams end."""

_REALM: Final = 'Bearer realm="narrator"'
_NO_KEY_ID: Final = "0" * 12
"""The key of tokens that are issued where nobody has a key."""


def job_stream(job_id: str) -> str:
    """The stream of one job, as tokens name it."""
    return f"job:{job_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What a route needs: `scope`, None where it is open to all. `by_token` opens streams too."""

    scope: Allowed | None
    by_token: bool = False


OPEN: Final = Guard(scope=None)
SUBMIT: Final = Guard(scope=Allowed.SUBMIT)
READ: Final = Guard(scope=Allowed.READ)
CANCEL: Final = Guard(scope=Allowed.CANCEL)
ADMIN: Final = Guard(scope=Allowed.ADMIN)
STREAM: Final = Guard(scope=Allowed.READ, by_token=True)


class Access(Protocol):
    """Who may do what; there are a server that asks for keys, and one that does not."""

    @property
    def closed(self) -> bool:
        """Whether a key is asked for."""
        ...

    def guarded(self, app: ASGIApp, guard: Guard) -> ASGIApp:
        """`app`, called only by those who may."""
        ...

    def caller(self, request: Request) -> Caller:
        """Who has called a guarded route."""
        ...

    def known(self, request: Request) -> bool:
        """Whether whoever calls an open route is somebody: whether they may be told more."""
        ...

    def token(self, request: Request, stream: str) -> stream_tokens.Issued:
        """A token for one stream of the caller."""
        ...

    def holds(self, key_id: str) -> bool:
        """Whether a stream that was opened by that key may stay open."""
        ...

    def warnings(self) -> list[str]:
        """What is wrong, and no reason to stop."""
        ...


class OpenAccess:
    """Nobody is asked: every caller is the same one, and may do everything."""

    closed: Final = False

    def __init__(self, tokens: stream_tokens.StreamTokens) -> None:
        self._tokens = tokens

    def guarded(self, app: ASGIApp, guard: Guard) -> ASGIApp:  # noqa: ARG002 — as the other's
        """`app` as it is."""
        return app

    def caller(self, request: Request) -> Caller:  # noqa: ARG002 — as the other's
        """Whoever calls."""
        return ANONYMOUS

    def known(self, request: Request) -> bool:  # noqa: ARG002 — as the other's
        """Everybody is."""
        return True

    def token(self, request: Request, stream: str) -> stream_tokens.Issued:  # noqa: ARG002
        """A token, so that a page need not know whether one is needed; nobody looks at it."""
        return self._tokens.issue(stream=stream, tenant=ANONYMOUS.tenant, key_id=_NO_KEY_ID)

    def holds(self, key_id: str) -> bool:  # noqa: ARG002 — as the other's
        """No stream is opened by a key."""
        return True

    def warnings(self) -> list[str]:
        """Nothing is wrong."""
        return []


class KeyAccess:
    """Whoever calls says who they are, by a key of the ring or by a token."""

    closed: Final = True

    def __init__(self, ring: KeyRing, tokens: stream_tokens.StreamTokens) -> None:
        self._ring = ring
        self._tokens = tokens

    def guarded(self, app: ASGIApp, guard: Guard) -> ASGIApp:
        """`app`, called only by those who have the scope."""
        needed = guard.scope
        if needed is None:
            return app

        async def checked(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                scope[_CALLER] = self._admitted(scope, needed, by_token=guard.by_token)
            except Problem as problem:
                await refusal(problem, Request(scope))(scope, receive, send)
                return
            await app(scope, receive, send)

        return checked

    def caller(self, request: Request) -> Caller:
        """Who has called a guarded route."""
        found: Caller = request.scope[_CALLER]
        return found

    def known(self, request: Request) -> bool:
        """Whether they have a key; one that opens nothing is as none."""
        key = _bearer(request.scope)
        return key is not None and self._ring.admitted(key) is not None

    def token(self, request: Request, stream: str) -> stream_tokens.Issued:
        """A token for one stream of the caller, in the name of their key."""
        caller = self.caller(request)
        return self._tokens.issue(
            stream=stream, tenant=caller.tenant, key_id=caller.key_id or _NO_KEY_ID
        )

    def holds(self, key_id: str) -> bool:
        """Whether the key is still there, has not expired and may still read."""
        caller = self._ring.holder(key_id)
        return caller is not None and caller.may(Allowed.READ)

    def warnings(self) -> list[str]:
        """What is wrong with the keys file."""
        return self._ring.warnings()

    def _admitted(self, scope: Scope, needed: Allowed, *, by_token: bool) -> Caller:
        """Who calls.

        Raises:
            Problem: 401, it is nobody; 403, they may not.

        """
        token: str | None = scope.get(_TOKEN) if by_token else None
        if token is not None and not _given(scope):
            caller = self._by_token(token, _stream_of(scope))
        else:
            key = _bearer(scope)
            caller = None if key is None else self._ring.admitted(key)
        if caller is None:
            raise _unauthorized(tried=bool(_given(scope)) or token is not None)
        if not caller.may(needed):
            raise Problem(
                FORBIDDEN,
                f"This needs a key with the scope {needed.value!r}.",
                members={"scope": needed.value},
                headers={"www-authenticate": f'{_REALM}, error="insufficient_scope"'},
            )
        return caller

    def _by_token(self, token: str, stream: str) -> Caller | None:
        key_id = self._tokens.key_of(token, stream=stream, tenant_of=self._tenant_of)
        return None if key_id is None else self._ring.holder(key_id)

    def _tenant_of(self, key_id: str) -> str | None:
        caller = self._ring.holder(key_id)
        return None if caller is None else caller.tenant


class TokenAway:
    """ASGI middleware that takes a token out of the address, before anyone can tell it to others.

    It is the outermost of all. What is below sees an address without it: spans, problems, logs.
    An address that is no stream's has no use for one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, without the token in its address."""
        if scope["type"] == "http" and scope["query_string"]:
            rest, tokens = _split(scope["query_string"])
            if tokens:
                scope = {**scope, "query_string": rest}
                if not scope["path"].endswith(_STREAMS):
                    problem = Problem(INVALID, "Not valid: query.token: only streams take a token.")
                    await refusal(problem, Request(scope))(scope, receive, send)
                    return
                # Of two, neither: none is more the caller's than the other.
                scope[_TOKEN] = tokens[0] if len(tokens) == 1 else ""
        await self._app(scope, receive, send)


def _split(query: bytes) -> tuple[bytes, list[str]]:
    """`query` without its tokens, and these."""
    if b"token" not in query and b"%" not in query:
        return query, []
    rest: list[bytes] = []
    tokens: list[str] = []
    for part in query.split(b"&"):
        name, _, value = part.decode("latin-1").partition("=")
        if unquote_plus(name) == TOKEN:
            tokens.append(unquote_plus(value))
        else:
            rest.append(part)
    return b"&".join(rest), tokens


def _given(scope: Scope) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == b"authorization"]


def _bearer(scope: Scope) -> str | None:
    """The key in the one Authorization header that there is; None if it is none of ours."""
    given = _given(scope)
    if len(given) != 1:
        return None
    scheme, _, key = given[0].decode("latin-1").partition(" ")
    return key.strip(" ") if scheme.lower() == "bearer" else None


def _stream_of(scope: Scope) -> str:
    job_id = scope["path_params"].get("job_id")
    return FEED if job_id is None else job_stream(job_id)


def _unauthorized(*, tried: bool) -> Problem:
    if not tried:
        return Problem(
            UNAUTHORIZED,
            "This server asks for a key: Authorization: Bearer KEY.",
            headers={"www-authenticate": _REALM},
        )
    return Problem(
        UNAUTHORIZED,
        "What was sent opens nothing here: it is unknown, has expired or was revoked.",
        headers={"www-authenticate": f'{_REALM}, error="invalid_token"'},
    )

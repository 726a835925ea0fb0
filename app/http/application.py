"""The FastAPI application: routes, problems, and who may address it. It starts nothing."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from opentelemetry.sdk.resources import Resource
from starlette.middleware.cors import CORSMiddleware

from app.http import console, docs, health, jobs, narration, operations, overview, stream, trace
from app.http import metrics as scrape
from app.http.access import Access
from app.http.cors import cors
from app.http.headers import SafeHeaders
from app.http.hosts import HostCheck, Hosts
from app.http.measuring import RequestTimes
from app.http.openapi import add_openapi
from app.http.problems import add_problem_handlers
from app.http.routes import Shortcut, protect
from app.http.serving import Serving
from app.settings import Settings
from narration.durable import Cursors
from telemetry.export import ExportState
from telemetry.metrics import Metrics

if TYPE_CHECKING:
    from app.engine.engine import Engine

DESCRIPTION: Final = (
    "POST a job and GET its story. Errors are `application/problem+json`. "
    "A field or a query parameter that means nothing is a 422, not ignored."
)

# In the order of how often they are asked for: a request is held against all those before its own,
# by the router and by the instrumentation.
ROUTES: Final[tuple[Callable[[FastAPI, Serving], None], ...]] = (
    jobs.add_routes,
    stream.add_routes,
    narration.add_routes,
    trace.add_routes,
    operations.add_routes,
    scrape.add_routes,
    overview.add_routes,
    health.add_routes,
    console.add_routes,
    docs.add_routes,
)


def create_application(
    *,
    engine: "Callable[[], Engine]",
    settings: Settings,
    metrics: Metrics | None,
    resource: Resource,
    exporting: Callable[[], list[ExportState]],
    cursors: Cursors,
    access: Access,
    bound: str | None = None,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    version: str = "0",
) -> FastAPI:
    """The application.

    `engine` is asked at each request, since the engine is made on the loop at start-up. `bound` is
    the address that the server listens on, None where another application mounts this one.
    """
    app = FastAPI(
        title="Job narrator",
        version=version,
        description=DESCRIPTION,
        openapi_url=None,  # added by hand, as all routes are: `docs`
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    serving = Serving(
        engine=engine,
        settings=settings,
        metrics=metrics,
        resource=resource,
        exporting=exporting,
        cursors=cursors,
        access=access,
    )
    for add_routes in ROUTES:
        add_routes(app, serving)
    protect(app, access)
    add_problem_handlers(app)
    add_openapi(app, closed=access.closed)
    app.add_middleware(Shortcut, routes=app.router.routes)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, **cors(settings.cors_origins))
    hosts = Hosts(settings.allowed_hosts, bound=bound, origins=settings.cors_origins)
    app.add_middleware(HostCheck, hosts=hosts)
    app.add_middleware(SafeHeaders)
    if metrics is not None:
        app.add_middleware(RequestTimes, metrics=metrics)
    return app

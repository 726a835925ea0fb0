"""The HTTP server's own spans: one for each request, none for its parts.

The contrib instrumentation makes a span for every chunk that is sent unless told otherwise: on a
stream, one for each event. FastAPI has telemetry of its own, on once a provider is set: it is
switched off where the application is made, since both together would tell everything twice. A span
says neither a key nor a token: these are taken away before it is made.
"""

from typing import Final

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import TracerProvider
from opentelemetry.util.http import (
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS,
    get_custom_headers,
)

from app.http.access import TokenAway

UNTRACED: Final = r"/metrics$,/livez$,/readyz$"
"""Requests that machines repeat all day, as the regular expressions the instrumentation takes."""

SECRET_HEADERS: Final = ("authorization", "cookie", "proxy-authorization", "set-cookie")


def instrument(app: FastAPI, tracer_provider: TracerProvider) -> None:
    """Make a server span for each request of `app`; before its first request.

    Its metrics are not taken: ours are Prometheus's, with a registry of their own.
    """
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=tracer_provider,
        meter_provider=NoOpMeterProvider(),
        excluded_urls=UNTRACED,
        # Whichever headers are recorded by OpenTelemetry's variables: none that opens anything.
        http_capture_headers_sanitize_fields=[
            *get_custom_headers(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS),
            *SECRET_HEADERS,
        ],
        exclude_spans=["receive", "send"],
    )
    build = app.build_middleware_stack  # with the spans outermost
    app.build_middleware_stack = lambda: TokenAway(build())  # type: ignore[method-assign]  # as the instrumentation does

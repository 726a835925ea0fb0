"""The HTTP server's own spans: one for each request, none for its parts.

The contrib instrumentation makes a span for every chunk that is sent unless told otherwise: on a
stream, one for each event. FastAPI has telemetry of its own, on once a provider is set: it is
switched off where the application is made, since both together would tell everything twice.
"""

from typing import Final

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import TracerProvider

UNTRACED: Final = r"/metrics$,/livez$,/readyz$"
"""Requests that machines repeat all day, as the regular expressions the instrumentation takes."""


def instrument(app: FastAPI, tracer_provider: TracerProvider) -> None:
    """Make a server span for each request of `app`; before its first request.

    Its metrics are not taken: ours are Prometheus's, with a registry of their own.
    """
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=tracer_provider,
        meter_provider=NoOpMeterProvider(),
        excluded_urls=UNTRACED,
        exclude_spans=["receive", "send"],
    )

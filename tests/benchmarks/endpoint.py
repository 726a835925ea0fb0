"""The reference of a POST: a FastAPI endpoint with the same model, which answers 202.

Its server is set up as ours. With `--traced` it has the same instrumentation, by the same function.
"""

import sys
import uuid

from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider

from app.cli.server import Server, address_of, configuration, listen
from app.http.instrumentation import instrument
from app.jobs.submission import Submission


def main() -> None:
    """Serve on a free port, until told to stop."""
    app = FastAPI(
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
    )

    @app.post("/v1/jobs", status_code=202)
    async def submit(submission: Submission) -> dict[str, str]:
        return {"id": str(uuid.uuid4()), "operation": submission.operation}

    if "--traced" in sys.argv:
        instrument(app, TracerProvider())
    sockets = listen("127.0.0.1", 0)

    def ready() -> None:
        sys.stdout.write(f"listening on {address_of(sockets[0])}\n")
        sys.stdout.flush()

    async def drain() -> None:
        """Nothing runs on."""

    server = Server(
        configuration(app),
        ready=ready,
        drain=drain,
        abort=lambda: None,
    )
    server.run(sockets=sockets)


if __name__ == "__main__":
    main()

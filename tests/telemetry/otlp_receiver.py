"""A real OTLP/HTTP receiver for tests: decodes the protobuf, or misbehaves as told.

with OtlpReceiver() as receiver:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    ...
    assert receiver.wait_for(3)
    names = [received.span.name for received in receiver.spans]
"""

import gzip
import socket
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Mode(StrEnum):
    """How the receiver behaves; it may be changed while it runs."""

    HEALTHY = "healthy"
    HANG = "hang"  # takes the request and does not answer
    ERROR = "500"
    REFUSE = "refuse"  # nothing listens on the port


@dataclass(frozen=True, slots=True)
class Received:
    """One span as it arrived."""

    span: Span
    scope: str
    resource: Mapping[str, Any]

    @property
    def attributes(self) -> dict[str, Any]:
        """The span's attributes as Python values."""
        return values_of(self.span.attributes)


@dataclass(frozen=True, slots=True)
class ReceivedLog:
    """One log record as it arrived."""

    record: LogRecord
    scope: str
    resource: Mapping[str, Any]

    @property
    def attributes(self) -> dict[str, Any]:
        """The record's attributes as Python values."""
        return values_of(self.record.attributes)


class OtlpReceiver:
    """Listens on 127.0.0.1, on a free port, from `with` to its end."""

    def __init__(self, mode: Mode = Mode.HEALTHY) -> None:
        self.mode = mode
        self.spans: list[Received] = []
        self.logs: list[ReceivedLog] = []
        self.requests = 0
        self.headers: list[dict[str, str]] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    @property
    def endpoint(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT must say."""
        return f"http://127.0.0.1:{self._port}"

    def wait_for(self, spans: int, timeout_s: float = 30.0) -> bool:
        """Whether at least so many spans arrive in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.spans) >= spans, timeout_s)

    def wait_for_logs(self, logs: int, timeout_s: float = 30.0) -> bool:
        """Whether at least so many log records arrive in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.logs) >= logs, timeout_s)

    def wait_for_requests(self, requests: int, timeout_s: float = 30.0) -> bool:
        """Whether at least so many requests arrive in time, whatever is answered."""
        with self._changed:
            return self._changed.wait_for(lambda: self.requests >= requests, timeout_s)

    def __enter__(self) -> Self:
        if self.mode is Mode.REFUSE:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self._port = free.getsockname()[1]
            return self
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def _take(self, path: str, headers: Mapping[str, str], body: bytes) -> bytes | None:
        """Keep what is in `body`, and give the answer; None for a path that is none."""
        encoding = headers.get("content-encoding", "")
        if encoding == "gzip":
            body = gzip.decompress(body)
        elif encoding == "deflate":
            body = zlib.decompress(body)
        match path:
            case "/v1/traces":
                self._take_spans(ExportTraceServiceRequest.FromString(body))
                return bytes(ExportTraceServiceResponse().SerializeToString())
            case "/v1/logs":
                self._take_logs(ExportLogsServiceRequest.FromString(body))
                return bytes(ExportLogsServiceResponse().SerializeToString())
        return None

    def _take_spans(self, request: ExportTraceServiceRequest) -> None:
        spans = [
            Received(span, scope_spans.scope.name, values_of(resource_spans.resource.attributes))
            for resource_spans in request.resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        ]
        with self._changed:
            self.spans += spans
            self._changed.notify_all()

    def _take_logs(self, request: ExportLogsServiceRequest) -> None:
        logs = [
            ReceivedLog(record, scope.scope.name, values_of(resource_logs.resource.attributes))
            for resource_logs in request.resource_logs
            for scope in resource_logs.scope_logs
            for record in scope.log_records
        ]
        with self._changed:
            self.logs += logs
            self._changed.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with receiver._changed:
                    receiver.requests += 1
                    receiver.headers.append(headers)
                    receiver._changed.notify_all()
                mode = receiver.mode
                if mode is Mode.HANG:
                    receiver._closing.wait()
                    self.close_connection = True
                    return
                answer, status = b"", 500
                if mode is Mode.HEALTHY:
                    taken = receiver._take(self.path, headers, body)
                    answer, status = (b"", 404) if taken is None else (taken, 200)
                self.send_response(status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base's name
                """Say nothing."""

        return Handler


def values_of(attributes: Any) -> dict[str, Any]:
    """Protobuf key-values as a dict of Python values."""
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return values_of(value.kvlist_value.values)
        case field:
            return getattr(value, field)

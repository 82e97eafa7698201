"""Spans by OpenTelemetry, where ``tracing.endpoint`` asks for them; elsewhere its SDK is not even imported.

A call is a span, under the caller's own where it sends ``traceparent`` (W3C); under it, for each rollout, the look-up
in the cache and the annotation, and under that the wait for an engine and the engine's run. A server that is asked
over HTTP is sent ``traceparent`` in its turn. No span holds a text: an error is told by its type.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from . import __version__
from .settings import TracingSettings

_NOTHING: Final = nullcontext()
_tracing: "_Tracing | None" = None


@contextmanager
def traced(settings: TracingSettings) -> Iterator[None]:
    """Send spans as the settings ask for it while the block runs. Raises ``ValueError`` where the extra is missing."""
    global _tracing
    if settings.endpoint is None:
        yield
        return
    _tracing = _Tracing(settings)
    try:
        yield
    finally:
        opened, _tracing = _tracing, None
        opened.provider.shutdown()


def call_span(headers: Mapping[str, str]) -> AbstractContextManager[Any]:
    """A call that came in with these headers; gives its span, None where nobody asks for spans."""
    return _NOTHING if _tracing is None else _tracing.call(headers)


def span(name: str) -> AbstractContextManager[object]:
    """What happens in the block, as a part of what happens here."""
    return _NOTHING if _tracing is None else _tracing.span(name)


def onward() -> dict[str, str]:
    """The headers that put another server's spans under what happens here."""
    return {} if _tracing is None else _tracing.onward()


def here() -> object:
    """Where spans belong that are recorded later, by another thread."""
    return None if _tracing is None else _tracing.context.get_current()


def record(name: str, parent: object, since_s: float, **attributes: str | int) -> None:
    """What has lasted from ``since_s`` (``time.monotonic``) until now, as a part of ``parent``, a former ``here``."""
    if _tracing is not None and parent is not None:
        _tracing.record(name, parent, since_s, attributes)


class _Tracing:
    def __init__(self, settings: TracingSettings) -> None:
        try:
            from opentelemetry import context, trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as error:
            raise ValueError(f"tracing.endpoint wants spans: pip install 'assay[otel]' ({error})") from error
        self.context: Any = context
        self._trace: Any = trace
        self._propagator = TraceContextTextMapPropagator()
        resource = Resource.create({"service.name": "assayd", "service.version": __version__})
        sampler = ParentBased(TraceIdRatioBased(settings.sample))
        self.provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{str(settings.endpoint).rstrip('/')}/v1/traces")
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self.provider.get_tracer("assayd", __version__)

    def call(self, headers: Mapping[str, str]) -> AbstractContextManager[Any]:
        parent = self._propagator.extract(headers)
        return self._span("call", context=parent, kind=self._trace.SpanKind.SERVER)

    def span(self, name: str) -> AbstractContextManager[Any]:
        return self._span(name)

    def onward(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        return headers

    def record(self, name: str, parent: Any, since_s: float, attributes: Mapping[str, str | int]) -> None:
        now_ns = time.time_ns()
        started_ns = now_ns - int((time.monotonic() - since_s) * 1e9)
        recorded = self._tracer.start_span(name, context=parent, attributes=attributes, start_time=started_ns)
        recorded.end(now_ns)

    @contextmanager
    def _span(self, name: str, **how: Any) -> Iterator[Any]:
        # The library would write the exception's message into the span, which may quote a prompt.
        silent: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
        with self._tracer.start_as_current_span(name, **silent, **how) as current:
            try:
                yield current
            except BaseException as error:
                current.set_status(self._trace.StatusCode.ERROR, type(error).__name__)
                raise

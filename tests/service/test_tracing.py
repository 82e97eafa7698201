"""Spans as a collector gets them over OTLP, and none of the SDK where nobody asks for it (FastAPI brings the API)."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from assayd.app import create_app
from assayd.settings import EngineName, EngineSettings, Settings

FAKE = {"engine": EngineName.FAKE}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PLANTED = "Marmalade skies"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Span]]]:
    """Where spans are sent to, and those that came."""
    spans: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", spans
        server.shutdown()


def test_the_framework_tells_nobody_of_calls(
    collector: Any, serve_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the environment asks it to: what it would tell of an error may quote a rollout."""
    endpoint, spans = collector
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    roles = dict.fromkeys(("critic", "rewriter", "segment", "sequence"), FAKE)
    with serve_app(create_app(Settings(**roles))) as url:
        body = {"task": "relc-toxicity", "rollouts": [{"completion": {"text": PLANTED}}]}
        assert httpx.post(f"{url}/score/token", json=body, timeout=60).status_code == 200
        assert httpx.post(f"{url}/score/token", json={"rollouts": PLANTED}, timeout=60).status_code == 422
    assert spans == []


def test_a_call_is_traced_from_the_trainer_to_the_engine(collector: Any, serve_app: Any, critic: Any) -> None:
    """One trace, the caller's: call, look-up, annotation, wait and run, each inside the one it belongs to; no text.

    The server that is asked over HTTP learns of the annotation that asks.
    """
    endpoint, spans = collector
    own = type(critic)()
    own.reply = lambda prompt: "I would rather not." if "unspeakable" in prompt else "None identified"
    with serve_app(own) as critic_url:
        engine = EngineSettings(engine=EngineName.OPENAI, model="scripted", base_url=f"{critic_url}/v1")
        others = dict.fromkeys(("rewriter", "segment", "sequence"), FAKE)
        app = create_app(Settings(critic=engine, **others, tracing={"endpoint": endpoint}))
        with serve_app(app) as url:
            texts = (PLANTED, f"unspeakable {PLANTED}")
            body = {"task": "relc-toxicity", "rollouts": [{"completion": {"text": text}} for text in texts]}
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            answer = httpx.post(f"{url}/score/token", json=body, headers=headers, timeout=60)
            assert [one["status"] for one in answer.json()["results"]] == ["ok", "failed"]
            assert httpx.get(f"{url}/healthz").status_code == 200
    ours = [span for span in spans if span.trace_id.hex() == TRACE]
    by_id = {span.span_id: span for span in ours}
    above = {
        (span.name, by_id[span.parent_span_id].name if span.parent_span_id in by_id else "the caller")
        for span in ours
    }
    assert above == {
        ("POST /score/token", "the caller"),
        ("prepare.wait", "POST /score/token"),
        ("prepare.run", "POST /score/token"),
        ("cache", "POST /score/token"),
        ("annotate", "POST /score/token"),
        ("engine.wait", "annotate"),
        ("engine.run", "annotate"),
    }
    (call,) = [span for span in ours if span.name == "POST /score/token"]
    assert (call.parent_span_id.hex(), call.kind) == (PARENT, Span.SPAN_KIND_SERVER)
    told = {one.key: one.value.string_value or one.value.int_value for one in call.attributes}
    assert told == {"http.route": "/score/token", "http.response.status_code": 200, "assay.tenant": "open"}
    for span in ours:
        assert call.start_time_unix_nano - 5e6 <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert PLANTED not in str(span)
    annotated = {span.span_id.hex() for span in ours if span.name == "annotate"}
    assert {headers["traceparent"] for headers in own.headers} == {
        f"00-{TRACE}-{span_id}-01" for span_id in annotated
    }
    failed = [span for span in ours if span.status.code == Status.STATUS_CODE_ERROR]
    assert {(span.name, span.status.message) for span in failed} == {("annotate", "AnnotationFailed")}


def test_what_the_caller_does_not_sample_is_not_traced(collector: Any, serve_app: Any) -> None:
    """The flag of its ``traceparent`` decides; without one, ``tracing.sample``."""
    endpoint, spans = collector
    engines = dict.fromkeys(("critic", "rewriter", "segment", "sequence"), FAKE)
    with serve_app(create_app(Settings(**engines, tracing={"endpoint": endpoint, "sample": 0}))) as url:
        for sampled in ("00", "01"):
            httpx.get(f"{url}/info", headers={"traceparent": f"00-{sampled * 16}-{PARENT}-{sampled}"})
        httpx.get(f"{url}/info", headers={"traceparent": "rubbish"})
    assert {span.trace_id.hex() for span in spans} == {"01" * 16}


def test_a_collector_that_is_away_costs_no_call(serve_app: Any) -> None:
    """Spans are lost, answers are not."""
    engines = dict.fromkeys(("critic", "rewriter", "segment", "sequence"), FAKE)
    app = create_app(Settings(**engines, tracing={"endpoint": "http://127.0.0.1:9"}))
    with serve_app(app) as url:
        assert httpx.get(f"{url}/info").status_code == 200


def test_without_an_endpoint_nothing_is_imported() -> None:
    """Whoever does not trace pays nothing for it."""
    code = (
        "import asyncio, sys; from assayd.app import create_app; from assayd.settings import Settings\n"
        "fake = dict.fromkeys(('critic', 'rewriter', 'segment', 'sequence'), {'engine': 'fake'})\n"
        "app = create_app(Settings(**fake))\n"
        "async def run():\n"
        "    async with app.router.lifespan_context(app): pass\n"
        "asyncio.run(run())\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert told.stdout.strip().splitlines()[-1] == "[]"

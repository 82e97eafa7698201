"""What was in a call is in no log, whatever happens to the call and however much is logged."""

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from assayd.app import create_app
from assayd.settings import EngineName, Settings

from ..processes import WEIGHTLESS, Process, answers, free_port

PARTS = ("critic", "rewriter", "segment", "sequence")
PLANTED = "Marmalade skies over Vladivostok"
SERVE = """
import logging, sys
import uvicorn
from assayd.app import create_app
from assayd.settings import load_settings
from assayd.telemetry import configure_logging
logging.basicConfig(level=logging.DEBUG)
configure_logging(logging.DEBUG)
uvicorn.run(create_app(load_settings()), port=int(sys.argv[1]), log_level="trace")
"""


@pytest.fixture
def logged(tmp_path: Path, serve_app: Any, critic: Any) -> Iterator[tuple[httpx.Client, Any, Process]]:
    """A client of a service in a process of its own with every logger at its lowest level, and its critic."""
    own, port = type(critic)(), free_port()
    command = [sys.executable, "-c", SERVE, str(port)]
    with serve_app(own) as critic_url:
        environment = {
            **WEIGHTLESS,
            "ASSAY_CRITIC__ENGINE": "openai",
            "ASSAY_CRITIC__MODEL": "scripted",
            "ASSAY_CRITIC__BASE_URL": f"{critic_url}/v1",
            "ASSAY_SEGMENT__NORMALIZER": "none",
        }
        ready = answers("/healthz")
        service = Process(command, tmp_path / "log", port, environment=environment, ready=ready)
        with service, httpx.Client(base_url=service.url, timeout=60) as client:
            yield client, own, service


def test_no_log_holds_what_was_in_a_call(logged: tuple[httpx.Client, Any, Process]) -> None:
    """Judged, unparseable, failed, late, unaligned, invalid, no JSON, foreign: at debug level, in every logger."""
    client, critic, service = logged

    def score(**changes: Any) -> httpx.Response:
        rollout = {"prompt": PLANTED, "completion": {"text": PLANTED}, "reference": PLANTED, **changes}
        body = {"task": "relc-toxicity", "rollouts": [rollout], "timeout_s": 20}
        return client.post("/score/token", json=body)

    for reply in ("None identified", f"Toxic Span 1: {PLANTED}", f"I say nothing but {PLANTED}.", None):
        critic.reply = reply
        assert score(prompt=f"{PLANTED}, {reply}").status_code == 200
    critic.status = 500
    assert score(prompt=PLANTED + "!").status_code in (200, 503)
    critic.status, critic.delay_s = 200, 3.0
    late = {"task": "relc-toxicity", "timeout_s": 0.5}
    rollouts = [{"prompt": PLANTED + "?", "completion": {"text": PLANTED}}]
    assert client.post("/score/token", json={**late, "rollouts": rollouts}).status_code in (200, 504)
    critic.delay_s = 0.0
    assert score(completion={"text": PLANTED, "offsets": [[0, 3], [2, 99]]}).status_code == 200
    assert score(completion={"text": [PLANTED]}).status_code == 422
    assert score(id={PLANTED: PLANTED}).status_code == 422
    assert client.post("/score/token", content=f'{{"{PLANTED}'.encode()).status_code == 400
    assert client.post("/remote_rm", json={"prompt": PLANTED, "response": PLANTED}).status_code == 200
    rewrite = {"rollouts": [{"prompt": PLANTED, "completion": {"text": PLANTED}, "reference": PLANTED}]}
    assert client.post("/rewrite", json=rewrite).status_code == 200
    headers = {"Authorization": f"Bearer {base64.b64encode(PLANTED.encode()).decode()}"}
    assert client.get("/info", headers=headers).status_code == 200
    text = service.said
    assert text.count('"event": "call"') >= 10
    assert "DEBUG" in text
    for secret in (PLANTED, PLANTED.split()[-1], headers["Authorization"].split()[-1]):
        assert secret not in text, [line for line in text.splitlines() if secret in line][:3]


def test_a_crash_is_logged_by_its_place(serve_app: Any, capfd: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A defect in a route is told by its kind and by where it is; the server passes on none of its words either."""
    app = create_app(Settings(**{part: {"engine": EngineName.FAKE} for part in PARTS}))

    @app.get("/crash")
    async def crash() -> None:
        raise KeyError(PLANTED)

    with serve_app(app) as url:
        answer = httpx.get(f"{url}/crash")
    assert (answer.status_code, answer.json()["kind"]) == (500, "internal")
    logged = "".join(capfd.readouterr()) + caplog.text
    assert "request_crashed" in logged
    assert "test_logs.py" in logged
    assert PLANTED not in logged + answer.text

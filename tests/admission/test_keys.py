"""Keys through the front door: who gets in, who does not, and what changes while the service runs."""

import socket
import threading
import time
from typing import Any

import httpx
import pytest

from assayd.admission import keys
from assayd.admission.tenant_file import revoke
from assayd.app import create_app
from assayd.settings import EngineName, Settings

FAKE = {"engine": EngineName.FAKE}
WEIGHTLESS = {"critic": FAKE, "rewriter": FAKE, "segment": FAKE, "sequence": FAKE}

ITEM = {"prompt": "Say something.", "completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]]}}
BODY = {"task": "relc-toxicity", "rollouts": [ITEM]}


def score(client: httpx.Client, **headers: str) -> httpx.Response:
    """One rollout judged by the critic."""
    return client.post("/score/token", json=BODY, headers=headers)


def refused(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The problem details of a refusal."""
    assert response.headers["Content-Type"] == "application/problem+json"
    assert (response.status_code, response.json()["kind"]) == (status, kind), response.text
    problem: dict[str, Any] = response.json()
    return problem


def test_a_key_opens_and_nothing_else_does(team: Any) -> None:
    """401 with the scheme to use, for no key, another's key, and half a key; what is said never holds the key."""
    key = team.add("atlas")
    url = team.start()
    assert score(team.client(url, key)).status_code == 200
    for wrong in (None, keys.new_key(), key[:-1], key + "x", key.upper(), "ключ"):
        headers = {} if wrong is None else {"Authorization": f"Bearer {wrong}".encode()}
        answer = httpx.post(f"{url}/score/token", json=BODY, headers=headers)
        assert "Bearer" in refused(answer, 401, "unauthenticated")["detail"] or wrong
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert wrong is None or wrong not in answer.text


def test_a_key_in_the_url_is_a_key(team: Any) -> None:
    """Trainers that know a URL and no headers: clients make Basic of http://anyone:KEY@host."""
    key = team.add("atlas")
    url = team.start().replace("http://", f"http://anyone:{key}@")
    assert httpx.post(f"{url}/score/token", json=BODY).status_code == 200
    compat = httpx.post(f"{url}/remote_rm", json={"prompt": "Hi", "response": "you rat"})
    assert compat.status_code == 200, compat.text
    nobody = url.replace(key, "nobody")
    assert httpx.post(f"{nobody}/remote_rm", json={"prompt": "Hi", "response": "you rat"}).status_code == 401


def test_who_shows_no_key_is_refused_before_the_body_is_read(team: Any) -> None:
    """The answer comes while 63 of 64 megabytes have not been sent."""
    team.add("atlas")
    host, port = team.start().removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = "POST /score/token HTTP/1.1\r\nHost: assay\r\nContent-Length: 64000000\r\n\r\n"
        connection.sendall(head.encode() + b"[" * 1_000_000)
        assert connection.recv(12) == b"HTTP/1.1 401"


@pytest.mark.parametrize(
    ("path", "stranger", "tenant", "operator"),
    [
        ("/healthz", 200, 200, 200),
        ("/readyz", 200, 200, 200),
        ("/openapi.json", 200, 200, 200),
        ("/info", 401, 200, 200),
        ("/metrics", 401, 403, 200),
        ("/is_sleeping", 401, 403, 200),
        ("/nowhere", 401, 404, 404),
    ],
)
def test_each_route_has_its_door(team: Any, path: str, stranger: int, tenant: int, operator: int) -> None:
    """Probes need no key, models are told to tenants, metrics to operators; what nobody knows is shut."""
    team.add("atlas")
    team.add("ops", operator=True)
    url = team.start()
    callers = (None, team.keys["atlas"], team.keys["ops"])
    assert [team.client(url, key).get(path).status_code for key in callers] == [stranger, tenant, operator]


def test_a_key_is_rotated_while_calls_come_in(team: Any) -> None:
    """Old and new hold together, then the new one alone; no call in between is refused, and nothing is restarted."""
    old = team.add("atlas")
    url = team.start()
    outcomes: list[int] = []
    shown, ended = [old], threading.Event()

    def call() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not ended.is_set():
                outcomes.append(score(client, Authorization=f"Bearer {shown[-1]}").status_code)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        new = team.rotate("atlas")
        both = [score(team.client(url, key)).status_code for key in (old, new)]
        shown.append(new)
        in_flight = len(outcomes) + 2
        while len(outcomes) < in_flight:
            time.sleep(0.01)
        assert revoke(team.file, "atlas", keys.digest_of(old)[:8]) == 1
        after = [score(team.client(url, key)).status_code for key in (old, new)]
    finally:
        ended.set()
        caller.join()
    assert (both, after) == ([200, 200], [401, 200])
    assert set(outcomes) == {200}


def test_a_tenant_is_revoked_while_it_is_served(team: Any, slow: Any) -> None:
    """What it has under way is answered, its next call is not, and nobody else notices."""
    settings, critic = slow
    team.add("atlas")
    team.add("borea")
    url = team.start(**settings)
    critic.delay_s = 1.0
    answers: list[httpx.Response] = []
    busy = threading.Thread(target=lambda: answers.append(score(team.client(url, team.keys["atlas"]))))
    busy.start()
    while not critic.prompts:
        time.sleep(0.01)
    revoke(team.file, "atlas", None)
    refused(score(team.client(url, team.keys["atlas"])), 401, "unauthenticated")
    busy.join()
    assert answers[0].status_code == 200
    assert score(team.client(url, team.keys["borea"])).status_code == 200


def test_a_broken_file_leaves_the_last_good_one_in_force(team: Any) -> None:
    """Everybody known goes on, /readyz says `degraded`, and the mended file is read without a restart."""
    key = team.add("atlas")
    client = team.client(team.start(), key)
    good = team.file.read_text(encoding="utf-8")
    for broken in ("[atlas", "[atlas]\nwieght = 2\n", "[atlas]\nweight = 0\n", '["a b"]\n', "\x00"):
        team.file.write_text(broken, encoding="utf-8")
        assert score(client).status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["parts"]["tenants"] is False
    team.file.unlink()
    assert score(client).status_code == 200
    team.file.write_text(good, encoding="utf-8")
    assert client.get("/readyz").json()["status"] == "ok"
    team.file.write_text("", encoding="utf-8")
    refused(score(client), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[atlas]\nkeys = [{ sha256 = "short" }]\n', r"tenant atlas: .*keys\[0\].sha256"),
        ("[atlas]\nwieght = 2\n", "tenant atlas: .*wieght"),
        ("[atlas]\nquotas = [{ per_s = 60 }]\n", "either requests or tokens"),
        ("[atlas]\nquotas = [{ requests = 1, tokens = 2 }]\n", "either requests or tokens"),
        ("['two words']\n", "tenant two words: "),
        ("atlas\n", "is no TOML"),
        (None, "No such file"),
    ],
)
async def test_a_service_does_not_start_on_a_broken_file(team: Any, text: str | None, why: str) -> None:
    """Nobody is in force yet, so that nobody could call; it says which tenant and what is wrong."""
    if text is not None:
        team.file.write_text(text, encoding="utf-8")
    app = create_app(Settings(**WEIGHTLESS, tenants={"path": team.file}))
    with pytest.raises(ValueError, match=why):
        async with app.router.lifespan_context(app):
            pass

"""Cases that schemathesis makes of the service's own OpenAPI document: such as fit it, and such as do not."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from .fitting import fitted
from .verdicts import PATIENCE_S, Verdicts


def operations(url: str) -> Iterator[Any]:
    """Those of a service's document."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    for found in schema.get_all_operations():
        yield found.ok()


def fuzz(operation: Any, cases: int, number: int, verdicts: Verdicts, after_each: Callable[[], None]) -> int:
    """Send ``cases`` cases of one operation, half of them such as do not fit; gives how many were sent.

    Of those that fit the document, every other one is made to fit the service. What takes nothing has few cases: it is
    asked again and again.
    """
    said, session = f"{operation.method.upper()} {operation.path}", requests.Session()
    sent = 0

    def send(case: Any) -> None:
        nonlocal sent
        sent += 1
        began_s = time.monotonic()
        try:
            answer = case.call(session=session, timeout=PATIENCE_S)
        except requests.RequestException:
            answer = None
        body = b"" if answer is None else answer.request.body or b""
        content = body.encode() if isinstance(body, str) else bytes(body)
        verdicts.judge(said, content, answer and _plain(answer), time.monotonic() - began_s)
        after_each()

    def fits(case: Any) -> None:
        if sent % 2:
            fitted(case)
        send(case)

    if cases > 1:
        each_of(operation, GenerationMode.POSITIVE, cases // 2, number, fits)
        each_of(operation, GenerationMode.NEGATIVE, cases // 2, number, send)
    while sent < cases:
        send(operation.Case())
    return sent


def _plain(answer: Any) -> httpx.Response:
    """Schemathesis keeps a list of values for each header."""
    headers = [(name, value) for name, values in answer.headers.items() for value in values]
    # Its content is decoded already.
    told = [(name, value) for name, value in headers if name.lower() != "content-encoding"]
    return httpx.Response(answer.status_code, headers=told, content=answer.content)


def each_of(
    operation: Any, mode: GenerationMode, count: int, number: int, send: Callable[[Any], None]
) -> None:
    """Send as many cases of one kind."""

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(operation.as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        send(case)

    # Unsatisfiable: there is nothing that a route without parameters would not take.
    with suppress(Unsatisfiable):
        each()

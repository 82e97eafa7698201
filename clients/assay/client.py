"""Calls the service over HTTP, and waits."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack, overload

import httpx

from .attempts import Contact, Flow, Outcome, Part, Pause, Send, late
from .calls import (
    Asked,
    Begun,
    Call,
    Rollouts,
    probe_call,
    rewrite_call,
    segment_call,
    sequence_call,
    token_call,
)
from .configuration import Configuration, Limits
from .errors import AnswerUnreadable
from .replies import Reply
from .wire import Answer, Probed, Rewritten, Scored, SegmentScored, SequenceScored

S = TypeVar("S")


class Client:
    """One service. Use it as a context manager, or call ``close``. Safe to use from many threads.

    One that is sent to another process, or inherited by one, has connections of its own there.

    What is not said here is taken from the environment: ``url`` from ``ASSAY_URL`` (else ``http://127.0.0.1:8000``),
    ``api_key``, which goes out as ``Authorization: Bearer``, from ``ASSAY_API_KEY``, and ``timeout_s``, for calls that
    name none, from ``ASSAY_TIMEOUT_S`` (else 60 s), and ``priority`` (``training``, ``evaluation`` or ``batch``) from
    ``ASSAY_PRIORITY`` (else the highest class that the service allows). ``http`` is a client of httpx to call with
    instead of one of its own (proxies, certificates, a transport for tests); it is not closed here.

    Every method takes what ``Asked`` lists, gives one result per rollout in order, each judged or ``Failed``, and
    raises nothing for a rollout that failed unless asked to. Large calls are made in parts, a few at a time
    (``Limits``). Connections that break and refusals that say when to come again are tried again until the deadline;
    a service that never answered this client is given up after four attempts.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float | None = None,
        limits: Limits | None = None,
        priority: str | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        if url is None and http is not None and http.base_url.host:
            url = str(http.base_url)
        self._configuration = Configuration.of(url, api_key, timeout_s, limits, priority)
        self._contact = Contact(self.url)
        self._injected = http
        self._closed = False
        self._open()

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._configuration.url

    @property
    def timeout_s(self) -> float:
        """How long a call may take that does not say so itself."""
        return self._configuration.timeout_s

    def __reduce__(self) -> tuple[Any, ...]:
        if self._injected is not None:
            raise TypeError("a client with an http of its own cannot be sent to another process")
        return partial(type(self), **self._configuration.arguments), ()

    @overload
    def score_token(
        self,
        rollouts: Rollouts,
        *,
        task: str,
        method: Literal["critic"] = "critic",
        **asked: Unpack[Asked],
    ) -> Answer[Scored]: ...

    @overload
    def score_token(
        self, rollouts: Rollouts, *, method: Literal["grm"], **asked: Unpack[Asked]
    ) -> Answer[Probed]: ...

    def score_token(
        self,
        rollouts: Rollouts,
        *,
        task: str | None = None,
        method: Literal["critic", "grm"] = "critic",
        **asked: Unpack[Asked],
    ) -> Answer[Scored] | Answer[Probed]:
        """One reward per token of each rollout's completion, or why there is none.

        Method ``critic`` pays by what a critic marked in a ``task``; ``grm`` by how likely a rewriter would have
        written each token, and needs every rollout's ``reference``. Raises ``CallRejected`` when the call as a whole
        is refused, ``ServiceUnreachable`` when nobody answers, and ``RecipeDrift`` when the service began to judge
        otherwise on the way.
        """
        if method == "grm":
            return self._answer(probe_call(rollouts, asked))
        return self._answer(token_call(rollouts, asked, method=method, task=task))

    def score_segment(
        self, rollouts: Rollouts, *, method: str = "segment", **asked: Unpack[Asked]
    ) -> Answer[SegmentScored]:
        """One reward per token of each rollout's completion, by the worth of the segment it is in.

        A rollout may bring its policy's ``entropies``. Raises like ``score_token``.
        """
        return self._answer(segment_call(rollouts, asked, method=method))

    def score_sequence(self, rollouts: Rollouts, **asked: Unpack[Asked]) -> Answer[SequenceScored]:
        """One reward for each rollout's completion, its advantage, and how often to draw it.

        A rollout may bring its ``value`` or its ``group``, see the option ``value_source``. A call that is too large
        for one request is cut between groups only, and the shares of its parts are made shares of the call: it is
        answered as if it were one request. A group that the service cannot take at once is refused. Raises like
        ``score_token``.
        """
        return self._answer(sequence_call(rollouts, asked))

    def rewrite(
        self,
        rollouts: Rollouts,
        *,
        method: str = "rewrite",
        task: str | None = None,
        rubric: str | None = None,
        **asked: Unpack[Asked],
    ) -> Answer[Rewritten]:
        """The smallest correction of each rollout's completion.

        Method ``rewrite`` goes by every rollout's ``reference``; ``critique`` by the remarks of a critic, whose
        ``task`` and ``rubric`` may be named. Raises like ``score_token``.
        """
        return self._answer(rewrite_call(rollouts, asked, method=method, task=task, rubric=rubric))

    def close(self) -> None:
        """Let the connections go. Whoever still waits for an answer gets it or an error."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._injected is None:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    def _open(self) -> None:
        connections = self._configuration.limits.max_connections
        self._pid = os.getpid()
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="assay")
        self._http = self._injected or httpx.Client(limits=httpx.Limits(max_connections=connections))

    def _answer(self, call: Call[S]) -> Answer[S]:
        if self._closed:
            raise RuntimeError("this client is closed")
        if self._pid != os.getpid():  # a fork inherits neither threads nor the right to the connections
            self._open()
        begun = call.begin(self._configuration, self._contact)
        futures = [self._threads.submit(self._drive, flow) for flow in begun.flows]
        try:
            return begun.answer(self._gather(begun, futures))
        finally:
            for future in futures:
                future.cancel()

    def _gather(self, begun: Begun[S], futures: Sequence["Future[list[Part]]"]) -> list[Part]:
        """All parts. One that is not there by the deadline is given up, whatever its thread still waits for."""
        done, _ = wait(futures, begun.request.deadline.remaining_s, FIRST_EXCEPTION)
        for future in done:
            future.result()  # raises what ends the whole call, before anybody waits for the others
        parts: list[Part] = []
        for future, chunk in zip(futures, begun.chunks, strict=True):
            parts += future.result() if future in done else begun.outcome(chunk, late(begun.request))
        return parts

    def _drive(self, flow: Flow) -> list[Part]:
        outcome: Outcome = None
        try:
            while True:
                step = flow.send(outcome)
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    outcome = None
                else:
                    outcome = self._send(step)
        except StopIteration as end:
            parts: list[Part] = end.value
            return parts

    def _send(self, send: Send) -> Outcome:
        give_up_at_s = time.monotonic() + send.timeout_s
        content = bytearray()
        try:
            with self._http.stream(
                "POST",
                self.url + send.path,
                content=send.content,
                headers=send.headers,
                timeout=send.timeout_s,
            ) as response:
                for piece in response.iter_bytes():
                    content += piece
                    if len(content) > self._configuration.limits.max_answer_bytes:
                        return too_large(self._configuration)
                    if time.monotonic() > give_up_at_s:
                        return httpx.ReadTimeout("the answer came too slowly")
                return Reply(response.status_code, response.headers, bytes(content))
        except httpx.RequestError as error:
            return error


def too_large(configuration: Configuration) -> AnswerUnreadable:
    """Why an answer was not read to its end."""
    return AnswerUnreadable(
        f"{configuration.url} answers with more than {configuration.limits.max_answer_bytes} bytes: send fewer "
        "rollouts a request, or raise Limits.max_answer_bytes"
    )

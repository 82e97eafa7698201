"""Asks a server that speaks OpenAI's chat completions: vLLM, SGLang, a provider, or the policy's own server."""

import asyncio
import json
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self

import httpx
import stamina
import structlog

from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.ports import Deadline, FinishReason, Generation, Queue, Sampling
from ..domain.provenance import ModelRef, Usage
from ..domain.rollout import Message, Role
from ..domain.sequence import Choice
from ..settings import Determinism, EngineSettings
from ..tracing import onward
from .lateness import refuse_late
from .preparing import estimated_tokens
from .turnstile import Turnstile

ATTEMPTS: Final = 6
READY_TIMEOUT_S: Final = 2.0
MAX_IN_FLIGHT: Final = 256
TOP_LOGPROBS: Final = 20
"""The most that OpenAI and vLLM tell."""
WORTH_RETRYING: Final = {408, 409, 429}
UNPINNED: Final = "unpinned"
TOO_LONG: Final = ("context length", "context_length", "context size", "context window", "max_new_tokens")
"""What servers write, in lower case, of a prompt that does not fit in."""
CONTINUED: Final = {"continue_final_message": True, "add_generation_prompt": False}
"""How vLLM and SGLang are told to go on from a reply that was begun."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Extra:
    """Fields of a request that not every server knows, and the words, in lower case, of a refusal that means them."""

    fields: frozenset[str]
    words: tuple[str, ...]

    def refused_in(self, response: httpx.Response) -> bool:
        """Whether a server says that it does not know these fields, or what stands in them."""
        said = response.text.lower() if response.status_code in NOT_KNOWN else ""
        return any(word in said for word in self.words)


NOT_KNOWN: Final = {400, 404, 422}
EXTRAS: Final = (
    Extra(frozenset(CONTINUED), tuple(CONTINUED)),
    Extra(
        frozenset({"response_format"}),
        ("response_format", "json_schema", "json schema", "structured", "guided"),
    ),
)


class _Unavailable(Exception):
    """No answer this time; another attempt may get one, after ``wait_s`` if the server named a time."""

    def __init__(self, detail: str, wait_s: float | None = None) -> None:
        super().__init__(detail)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class _Retry:
    """Says to stamina whether to try again, and when, inside the deadline."""

    deadline: Deadline

    def __call__(self, error: Exception) -> bool | float:
        if not isinstance(error, _Unavailable):
            return False
        if error.wait_s is None:
            return True
        return error.wait_s if error.wait_s < self.deadline.remaining_s else False


class Generator:
    """A model behind HTTP."""

    def __init__(
        self,
        base_url: str,
        model: ModelRef,
        *,
        api_key: str | None = None,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        self.model = model
        self._turnstile = Turnstile(max_in_flight)
        self._unknown: frozenset[str] = frozenset()
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={} if api_key is None else {"Authorization": f"Bearer {api_key}"},
            # The deadline of each call is the only timeout.
            timeout=None,  # noqa: S113
            # The turnstile bounds those who ask; whether the server is ready has to be known when all are inside, too.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=max_in_flight),
            trust_env=False,
        )

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Open without calling the server. Raises ``ValueError`` when the settings lack its address or model."""
        if settings.base_url is None or settings.model is None:
            raise ValueError(
                "the openai engine needs `base_url` (such as http://localhost:8000/v1) and `model` "
                "(the name the server knows it by)"
            )
        if settings.determinism is not Determinism.NONE:
            raise ValueError(
                f"determinism is {settings.determinism}, which the server behind base_url cannot be held to: set it to "
                "none, or host the model with `engine` transformers"
            )
        key = None if settings.api_key is None else settings.api_key.get_secret_value()
        ref = ModelRef(settings.model, settings.revision or UNPINNED, "openai")
        return cls(settings.base_url, ref, api_key=key, max_in_flight=settings.max_in_flight or MAX_IN_FLIGHT)

    @property
    def line(self) -> Queue:
        """Those who wait to ask the server, and those who do."""
        return self._turnstile.line

    async def ready(self) -> bool:
        """Whether the server answers at all; one that does not list its models is alive too."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                response = await self._client.get("models")
        except (httpx.HTTPError, TimeoutError):
            return False
        return response.status_code < 500

    @property
    def failing(self) -> bool:
        """Never: what its server went through is not told here."""
        return False

    async def close(self) -> None:
        """Close the connections; safe to call twice."""
        await self._client.aclose()

    async def generate(
        self, messages: tuple[Message, ...], sampling: Sampling, *, deadline: Deadline
    ) -> Generation:
        """Ask the server, again after a passing failure, until the deadline.

        A server that cannot go on from a begun reply starts anew; what it repeats of the beginning is taken off.
        One that cannot hold a reply to a JSON schema writes it unheld.
        """
        refuse_late(deadline, "server")
        response = await self._asked(self._body(messages, sampling), deadline)
        return _without(_begun(messages), _generation(response))

    async def choose(
        self, messages: tuple[Message, ...], words: tuple[str, ...], *, deadline: Deadline
    ) -> Choice:
        """The probability of each word as the first token, of the ``TOP_LOGPROBS`` likeliest that a server tells.

        Raises ``AnnotationFailed`` (``engine``) where it tells none.
        """
        refuse_late(deadline, "server")
        body = self._body(messages, Sampling(max_tokens=1))
        told = {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        return _choice(await self._asked({**body, **told}, deadline), words)

    async def _asked(self, body: dict[str, Any], deadline: Deadline) -> httpx.Response:
        async with self._turnstile.turn(_estimated_tokens(body), deadline):
            return await self._answered(body, deadline)

    async def _answered(self, body: dict[str, Any], deadline: Deadline) -> httpx.Response:
        try:
            async with asyncio.timeout(deadline.remaining_s):
                # The prompt stays out of stamina's arguments, because its hooks log them.
                async for attempt in stamina.retry_context(_Retry(deadline), attempts=ATTEMPTS, timeout=None):
                    with attempt:
                        return await self._post(body)
        except TimeoutError:
            raise AnnotationFailed(
                FailureKind.PAST_DEADLINE, f"{self.model.name} had not answered when the deadline passed"
            ) from None
        except _Unavailable as error:
            raise self._given_up(error) from error
        raise AssertionError("a retry context ends by returning or raising")

    def _body(self, messages: tuple[Message, ...], sampling: Sampling) -> dict[str, Any]:
        body = {
            "model": self.model.name,
            "messages": [{"role": str(turn.role), "content": turn.content} for turn in messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
            "response_format": _format_of(sampling),
            **(CONTINUED if _begun(messages) else {}),
        }
        return {name: value for name, value in body.items() if value is not None}

    async def _post(self, body: dict[str, Any]) -> httpx.Response:
        response = await self._understood(body)
        if response.status_code in WORTH_RETRYING or response.status_code >= 500:
            raise _Unavailable(f"status {response.status_code}", _retry_after_s(response))
        if not response.is_success:
            raise _refusal(response)
        return response

    async def _understood(self, body: dict[str, Any]) -> httpx.Response:
        """Send without the extras that the server refuses; those it answers without are left out from then on."""
        dropped = self._unknown
        while True:
            sent = {name: value for name, value in body.items() if name not in dropped}
            response = await self._sent(sent)
            refused = [extra for extra in EXTRAS if extra.fields & sent.keys() and extra.refused_in(response)]
            if not refused:
                break
            dropped = dropped.union(*(extra.fields for extra in refused))
        if response.is_success:
            self._unknown |= dropped
        return response

    async def _sent(self, body: dict[str, Any]) -> httpx.Response:
        try:
            return await self._client.post("chat/completions", json=body, headers=onward())
        except httpx.RequestError as error:
            raise _Unavailable(type(error).__name__) from error

    def _given_up(self, error: _Unavailable) -> AnnotationFailed:
        server = f"the server of {self.model.name}"
        log.warning("server_unavailable", server=self._client.base_url.netloc.decode(), error=str(error))
        if error.wait_s is not None:
            return AnnotationFailed(
                FailureKind.PAST_DEADLINE,
                f"{server}: {error}, and to ask again in {error.wait_s:g} s is past the deadline",
            )
        return AnnotationFailed(
            FailureKind.ENGINE, f"{server}: {error}, after {ATTEMPTS} attempts. Is it running?"
        )


def _estimated_tokens(body: dict[str, Any]) -> int:
    said = sum(estimated_tokens(message["content"]) for message in body["messages"])
    return said + int(body["max_tokens"])


def _format_of(sampling: Sampling) -> dict[str, Any] | None:
    """How a server is told to hold its reply to a schema."""
    if sampling.json_schema is None:
        return None
    named = {"name": "reply", "schema": json.loads(sampling.json_schema), "strict": True}
    return {"type": "json_schema", "json_schema": named}


def _begun(messages: tuple[Message, ...]) -> str:
    """The beginning of the reply that stands at the end of the messages, if one does."""
    return messages[-1].content if messages and messages[-1].role is Role.ASSISTANT else ""


def _without(begun: str, generation: Generation) -> Generation:
    """What was said without the beginning, where a server repeats it."""
    said, beginning = generation.text.lstrip(), begun.lstrip()
    if beginning and said.startswith(beginning):
        return replace(generation, text=said[len(beginning) :])
    return generation


def _refusal(response: httpx.Response) -> AnnotationFailed:
    """Translate a status that no second attempt would change."""
    said = response.text
    match response.status_code:
        case 401 | 403:
            advice = "check `api_key`"
        case 404:
            advice = "check `base_url` and `model`"
        case 400 | 413 | 422 if any(phrase in said.lower() for phrase in TOO_LONG):
            return AnnotationFailed(
                FailureKind.TOO_LONG, f"the prompt is too long for the server: {said[:300]}"
            )
        case _:
            advice = "the server refused the request"
    # Of a refused key the server may show a part.
    told = "" if response.status_code in (401, 403) else f": {said[:300]}"
    return AnnotationFailed(FailureKind.ENGINE, f"status {response.status_code}, {advice}{told}")


def _generation(response: httpx.Response) -> Generation:
    try:
        answer = response.json()
        choice = answer["choices"][0]
        text, finish = choice["message"].get("content"), choice.get("finish_reason")
        usage = answer.get("usage") or {}
        cost = Usage(1, int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise AnnotationFailed(
            FailureKind.ENGINE, f"the server's answer is no chat completion ({type(error).__name__})"
        ) from error
    if not isinstance(text, str):
        raise AnnotationFailed(
            FailureKind.ENGINE,
            f"the critic returned no text (finish_reason {finish!r}): a refusal, a tool call, or all of "
            "`max_tokens` spent on reasoning",
        )
    return Generation(text, FinishReason.LENGTH if finish == "length" else FinishReason.STOP, cost)


def _choice(response: httpx.Response, words: tuple[str, ...]) -> Choice:
    try:
        answer = response.json()
        first = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        likely = [(str(token["token"]).strip().casefold(), float(token["logprob"])) for token in first]
        usage = answer.get("usage") or {}
        cost = Usage(1, int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise AnnotationFailed(
            FailureKind.ENGINE,
            "the server tells no log-probabilities of what it says: ask for `answer_by: votes`",
        ) from error
    shares = (
        math.fsum(math.exp(logprob) for text, logprob in likely if text == word.casefold()) for word in words
    )
    return Choice(tuple(shares), cost)


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds or a date, as RFC 9110 section 10.2.3 has it; None when absent or unreadable."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None

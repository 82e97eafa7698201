"""One vLLM engine: started, watched, and started again when it dies.

The engine is a process of its own. While it is down, or asleep, ``outage`` says so and calls fail at once; the service
itself goes on.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from itertools import count
from typing import Any, Final, Self, TypeAlias
from uuid import uuid4

import structlog
from prometheus_client import CollectorRegistry
from vllm import PoolingParams, PoolingRequestOutput, RequestOutput, SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMError
from vllm.lora.request import LoRARequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from ...domain.failure import AnnotationFailed, FailureKind
from ...domain.ports import Deadline, Outage, Queue
from ...telemetry import withheld
from ..lateness import refuse_late
from ..shares import Claim, Shares
from ..supervision import Backoff
from ..turnstile import Turnstile
from .arguments import claim_of
from .metrics import private_metrics

Asked: TypeAlias = SamplingParams | PoolingParams
Told: TypeAlias = RequestOutput | PoolingRequestOutput

POLL_S: Final = 0.25
"""How often an engine that nobody calls is looked after."""
ASLEEP_RETRY_S: Final = 5.0
GRACE_S: Final = 1.0
"""How long an engine may take to end by itself: it holds nothing that outlives it."""
FIRST_START_S: Final = 60.0
"""How long a start is taken to last before one has been seen."""

log = structlog.get_logger()

_starter = ThreadPoolExecutor(1, thread_name_prefix="vllm start")
"""One start at a time: vLLM measures free memory, and registers its metrics where the last engine's are."""
_shares = Shares()
"""Of the GPUs of this machine, as far as this process takes them."""


class Host:
    """An engine by its arguments. ``canary`` is asked of it before it counts as started."""

    def __init__(self, args: AsyncEngineArgs, canary: Asked, max_in_flight: int | None = None) -> None:
        self.name = str(args.served_model_name or args.model)
        self.restarts = 0
        self.outage: Outage | None = None
        self.registry: CollectorRegistry | None = None
        self._args = args
        self._claim: Claim | None = claim_of(args)
        self._canary = canary
        self._max_in_flight = max_in_flight
        self._turnstile = Turnstile(max_in_flight or 1)
        self._engine: AsyncLLM | None = None
        self._backoff = Backoff()
        self._start_s = FIRST_START_S
        self._starting: asyncio.Task[None] | None = None
        self._suspected = asyncio.Event()
        self._awake = asyncio.Event()
        self._awake.set()
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, args: AsyncEngineArgs, canary: Asked, max_in_flight: int | None = None) -> Self:
        """Start the engine. Raises ``ValueError`` with what to do when it does not start."""
        host = cls(args, canary, max_in_flight)
        if host._claim is not None:
            _shares.add(host._claim)
        try:
            await host._start()
        except Exception as error:
            await host.close()
            raise ValueError(
                f"vLLM cannot host {host.name}: {error}\nIts own log above says more. Too little memory: lower "
                "`max_model_len`, or give the model another share with `vllm.gpu_memory_utilization`"
            ) from error
        host._watch = asyncio.create_task(host._keep_alive(), name=f"watch {host.name}")
        return host

    @property
    def config(self) -> Any:
        """What vLLM made of the arguments (``ModelConfig``)."""
        assert self._engine is not None  # noqa: S101 - open() returns started hosts only
        return self._engine.model_config

    @property
    def line(self) -> Queue:
        """Those who wait to ask the engine, and those who do."""
        return self._turnstile.line

    async def ask(
        self, ids: list[int], params: Asked, *, deadline: Deadline, adapter: LoRARequest | None = None
    ) -> Told:
        """What the engine says of a prompt; who stops waiting, or comes to the deadline, calls it off.

        Raises ``AnnotationFailed``: ``overloaded`` at the door, ``past_deadline``, or ``engine`` where the engine is
        down or refuses.
        """
        refuse_late(deadline)
        self._refuse_while_down()
        written = (params.max_tokens or 0) if isinstance(params, SamplingParams) else 0
        async with self._turnstile.turn(len(ids) + written, deadline):
            # It may have died, or gone to sleep, while this one waited.
            return await self._told(self._refuse_while_down(), ids, params, deadline, adapter)

    async def _told(
        self,
        engine: AsyncLLM,
        ids: list[int],
        params: Asked,
        deadline: Deadline,
        adapter: LoRARequest | None,
    ) -> Told:
        try:
            async with asyncio.timeout(deadline.remaining_s):
                return await _last(_stream(engine, ids, params, adapter))
        except TimeoutError:
            raise AnnotationFailed(
                FailureKind.PAST_DEADLINE, f"{self.name} had not answered when the deadline passed"
            ) from None
        except EngineDeadError:
            self._died()
            raise self._down() from None
        except (EngineGenerateError, VLLMError, ValueError) as error:
            said = withheld("vllm_refused", error, model=self.name)
            raise AnnotationFailed(FailureKind.ENGINE, f"{self.name} refused: {said}") from error

    def _refuse_while_down(self) -> AsyncLLM:
        if self.outage is not None or self._engine is None:
            raise self._down()
        return self._engine

    async def sleep(self, level: int) -> None:
        """Let go of the device's memory once what is under way has been answered; level 2 drops the weights too."""
        self.outage = Outage(f"{self.name} is asleep: POST /wake_up", ASLEEP_RETRY_S)
        self._awake.clear()
        if self._engine is not None and not self._engine.errored:
            await self._engine.sleep(level, mode="wait")

    async def wake(self) -> None:
        """Take the memory again and answer; an engine that died in its sleep is started."""
        if self._awake.is_set():
            return
        if self._engine is not None and not self._engine.errored:
            await self._engine.wake_up()
            self.outage = None
        else:
            self._say_down(0.0)
        self._awake.set()

    @property
    def asleep(self) -> bool:
        """Whether it was sent to sleep and not woken since."""
        return not self._awake.is_set()

    async def close(self) -> None:
        """End the engine; a start under way is waited for, so that no process is left. Safe to call twice."""
        self.outage = Outage("the engine was closed", None)
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        if self._starting is not None:
            with suppress(Exception):
                await self._starting
        await self._stop()
        if self._claim is not None:
            _shares.drop(self._claim)

    async def _start(self) -> None:
        # A thread cannot be called off: close() waits for it, so that no process is left behind.
        self._starting = asyncio.create_task(self._build())
        await asyncio.shield(self._starting)

    async def _build(self) -> None:
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        engine, self.registry = await loop.run_in_executor(_starter, _built, self._args)
        self._engine = engine
        self._turnstile.max_inside = self._max_in_flight or engine.vllm_config.scheduler_config.max_num_seqs
        await _last(_stream(engine, [0], self._canary, None))
        self._start_s = time.monotonic() - began
        self._backoff.started()
        if not self.asleep:
            self.outage = None

    async def _stop(self) -> None:
        engine, self._engine = self._engine, None
        if engine is None:
            return
        if engine.output_handler is not None:
            # Else it takes the end of the engine for its death, and logs that.
            engine.output_handler.cancel()
        # Whoever still waits is told: the handler may not have come to that.
        engine.output_processor.propagate_error(EngineDeadError())
        await asyncio.to_thread(engine.shutdown, GRACE_S)

    async def _keep_alive(self) -> None:
        while True:
            await self._death()
            self._died()
            await self._stop()
            await self._awake.wait()
            await self._revive()

    async def _death(self) -> None:
        while self._engine is not None and not self._engine.errored:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._suspected.wait()
            self._suspected.clear()

    async def _revive(self) -> None:
        for attempt in count(1):
            wait_s = self._backoff.next_s()
            log.warning("engine_restarts", model=self.name, attempt=attempt, wait_s=round(wait_s, 3))
            self._say_down(wait_s)
            await asyncio.sleep(wait_s)
            try:
                await self._start()
            except Exception as error:  # whatever a start raises, the next one may succeed
                log.error("engine_start_failed", model=self.name, attempt=attempt, error=_said(error))
                await self._stop()
                continue
            self.restarts += 1
            log.info("engine_restarted", model=self.name, start_s=round(self._start_s, 3))
            return

    def _died(self) -> None:
        if self.outage is None:
            log.error("engine_died", model=self.name)
            self._say_down(0.0)
        self._suspected.set()

    def _say_down(self, wait_s: float) -> None:
        detail = f"the engine process of {self.name} died and is being started again"
        self.outage = Outage(detail, wait_s + self._start_s)

    def _down(self) -> AnnotationFailed:
        outage = self.outage or Outage(f"the engine of {self.name} is not running", None)
        return AnnotationFailed(FailureKind.ENGINE, outage.detail, retry_after_s=outage.retry_after_s)


def _built(args: AsyncEngineArgs) -> tuple[AsyncLLM, CollectorRegistry]:
    """An engine and the registry of its metrics. Takes tens of seconds."""
    logger, registry = private_metrics()
    return AsyncLLM.from_engine_args(args, stat_loggers=[logger]), registry


def _stream(
    engine: AsyncLLM, ids: list[int], params: Asked, adapter: LoRARequest | None
) -> AsyncGenerator[Told, None]:
    ask = engine.generate if isinstance(params, SamplingParams) else engine.encode
    stream: AsyncGenerator[Told, None] = ask(
        {"prompt_token_ids": ids}, params, uuid4().hex, lora_request=adapter
    )
    return stream


async def _last(stream: AsyncGenerator[Told, None]) -> Told:
    async with aclosing(stream):
        told = [part async for part in stream]
    return told[-1]


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]

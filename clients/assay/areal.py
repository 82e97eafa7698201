"""Assay in AReaL: a workflow whose trajectories bring the shaping of each token with them. Needs AReaL 1.0.

    trainer.train(workflow="assay.areal.DenseRLVRWorkflow", workflow_kwargs={
        "reward_fn": ..., "gconfig": ..., "tokenizer": ...,
        "rewards": TokenRewards(task="math-steps"), "shaping": Shaping(weight=0.5, baseline="none")})

AReaL's actor is not touched. The shaping rides in the field ``values``, which a critic would fill: with
``discount = gae_lambda = 1`` generalized advantage estimation is telescoping, ``A[t] = R - V[t]``, so with
``V = -weight * S`` the actor's own advantage is ``R + weight * S[t]``, ``R`` being its normalized reward
(``assay.dense``). AReaL keeps what belongs to token ``t`` at place ``t - 1``; so do ``values`` here. ``check`` says
whether a configuration fits.
"""

import asyncio
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from areal import workflow_context
from areal.utils import stats_tracker
from areal.workflow.rlvr import RLVRWorkflow

from .dense import Shaping, shape
from .policy import FailurePolicy, log
from .token_rewards import Judged, TokenRewards, failed, messages

_told: Final[ContextVar[list[Judged] | None]] = ContextVar("assay_told", default=None)


def check(config: Any) -> None:
    """ValueError where a ``GRPOConfig`` or ``PPOConfig`` would make something else of ``values``."""
    if getattr(config, "critic", None) is not None:
        raise ValueError("the shaping takes the critic's place: dense rewards need critic: null")
    if config.actor.discount != 1.0 or config.actor.gae_lambda != 1.0:
        raise ValueError(
            "dense rewards need actor.discount and actor.gae_lambda 1.0: Shaping.gamma discounts"
        )


class DenseRLVRWorkflow(RLVRWorkflow):  # type: ignore[misc]
    """AReaL's workflow of single turns, which has each completion judged while its ``reward_fn`` runs.

    ``columns`` names columns of the data set by fields of a rollout, such as ``{"reference": "answer"}``. ``policy``:
    what becomes of completions that could not be judged. By default they are rejected, as AReaL calls it: the others
    of the group are trained and normalized without them, and more are drawn until the batch is full. So that a service
    that stays away does not hold a step for ever, they keep their outcome alone once none was judged for
    ``patience_s``. ``raise`` rejects the whole group and its error is logged: AReaL goes on whatever a workflow raises.
    ``timeout_s`` bounds each call; AReaL's own 15 s are for ``reward_fn`` only. The share of failures is logged as
    ``assay_failed``.

    A workflow sees one completion at a time, so ``shaping`` has no baseline: ValueError. AReaL's ``adv_norm`` centres.
    """

    def __init__(
        self,
        *arguments: Any,
        rewards: TokenRewards,
        shaping: Shaping,
        policy: FailurePolicy | None = None,
        columns: Mapping[str, str] | None = None,
        patience_s: float = 600.0,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        if shaping.baseline != "none":
            raise ValueError("a workflow sees no groups: Shaping(baseline='none'), and AReaL's adv_norm")
        self.policy = policy or FailurePolicy()
        self._rewards, self._shaping, self._columns = rewards, shaping, dict(columns or {})
        self._patience_s, self._judged_s = patience_s, time.monotonic()

    async def arun_episode(self, engine: Any, data: dict[str, Any]) -> Any:
        """AReaL's trajectory with ``values`` (1, L); None where it is rejected."""
        told: list[Judged] = []
        before = _told.set(told)
        try:
            trajectory = await super().arun_episode(engine, data)
        finally:
            _told.reset(before)
        log.disabled = False  # by AReaL's logging, which switches off every logger that was there before
        settled = self.policy.settle(told, step=engine.get_version())
        stats_tracker.get(workflow_context.stat_scope()).scalar(
            assay_failed=float(not isinstance(settled[0], tuple))
        )
        if trajectory is None or (self._rejects and not isinstance(settled[0], tuple)):
            return None
        rewards = settled[0] if isinstance(settled[0], tuple) else None
        self._judged_s = time.monotonic() if rewards else self._judged_s
        mask = trajectory["loss_mask"][0].tolist()
        own = [place for place, one in enumerate(mask) if one]
        (shaped,) = shape([rewards], [[1] * len(own)], [0], self._shaping)
        values = trajectory["logprobs"].new_zeros(trajectory["logprobs"].shape)
        for place, token in zip(own, shaped, strict=True):
            values[0, place - 1] = -token
        trajectory["values"] = values
        return trajectory

    @property
    def _rejects(self) -> bool:
        """Whether a completion that could not be judged is rejected."""
        waited_s = time.monotonic() - self._judged_s
        if self.policy.on_failure == "skip" and waited_s > self._patience_s:
            log.error("nothing was judged for %.0f s: failed completions keep their outcome alone", waited_s)
            return False
        return self.policy.on_failure == "skip"

    async def _compute_rewards(self, resp: Any, prompt_str: str, task_data: dict[str, Any]) -> float:
        """AReaL's reward, and the service's beside it."""
        outcome, judged = await asyncio.gather(
            super()._compute_rewards(resp, prompt_str, task_data), self._judge(resp, task_data)
        )
        told = _told.get()
        if told is not None:
            told.append(judged)
        return float(outcome)

    async def _judge(self, resp: Any, task_data: Mapping[str, Any]) -> Judged:
        if not resp.output_tokens:
            return failed("empty", "a completion without tokens")
        return await self._rewards.judge(
            messages(self.data_extract_prompt_fn(task_data)),
            resp.output_tokens,
            tokenizer=self.tokenizer,
            policy=self.policy,
            truncated=resp.stop_reason == "length",
            **{field: task_data[column] for field, column in self._columns.items()},
        )

"""GRM (2401.06081; papers.md 3.2, 5.3): each token is paid by how likely a rewriter would have kept it.

The rewriter's prompt holds the prediction itself, so tokens that it would copy are likely, and those that it would
change are not. One prefill per rollout; nothing is generated.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, replace

from ...domain.failure import AnnotationFailed, FailureKind
from ...domain.ports import Deadline, Engine, TokenStats, WeighsTokens, Window
from ...domain.provenance import Recipe, Usage
from ...domain.rewriting import Branch, Checks, EndMarker, ProbeAnnotation, Tokenizes, Verdict
from ...domain.rollout import Completion, Message, Role, Rollout
from ...domain.text import Alignment, Span
from ..cutting import content_end
from ..options import Mode
from ..paying import failing_as, token_of_outcome, with_outcome
from ..prompting import Prompt
from ..rewriting.exhibit import PLACEHOLDERS, texts_of
from ..scoring import is_masked
from .options import METHOD, ProbeOptions, check
from .rewards import Clipped, clip


class TokenProber:
    """Pays the tokens of one completion.

    ``prompt`` is the one that the rewriter mends solutions by. ``reference`` is the policy as it was before the
    training, read under the policy's own prompt. ``tokenizer`` closes finished completions that came without an end
    marker; ``checker`` says which solutions are right where the caller does not. In compat mode nothing differs:
    prompt and completion are tokenized apart, so that the released code's silent shift has no place to happen.
    """

    def __init__(
        self,
        engine: WeighsTokens,
        prompt: Prompt,
        options: ProbeOptions,
        *,
        mode: Mode,
        service_version: str,
        tokenizer: Tokenizes | None = None,
        checker: Checks | None = None,
        reference: WeighsTokens | None = None,
    ) -> None:
        if unknown := prompt.placeholders - PLACEHOLDERS:
            raise ValueError(f"prompt {prompt.name}: nothing fills {sorted(unknown)}")
        check(options)
        self._engine, self._prompt, self._options = engine, prompt, options
        self._tokenizer, self._checker = tokenizer, checker
        self._reference = reference if options.return_ref_logprobs else None
        self._recipe = Recipe(
            method=METHOD,
            mode=mode.value,
            model=engine.model,
            prompt=prompt.ref,
            options={**asdict(options), "checked": None if checker is None else checker.name},
            service_version=service_version,
            tokenizer=tokenizer.model if tokenizer is not None and tokenizer.is_policy else None,
            other_models={} if self._reference is None else {"reference": self._reference.model},
        )

    @property
    def recipe(self) -> Recipe:
        """What this prober is, apart from the rollout."""
        return self._recipe

    def engines_for(self, *, weighed: bool, rewarded: bool) -> tuple[Engine, ...]:
        """The rewriter that weighs."""
        return (self._engine,)

    async def annotate(self, rollout: Rollout, *, deadline: Deadline) -> tuple[ProbeAnnotation, Usage]:
        """Pay one rollout.

        Raises ``AnnotationFailed``: ``empty`` without tokens of the policy, ``invalid`` without a reference or where
        nobody knows whether the solution is right, and whatever the engines raise.
        """
        last = token_of_outcome(rollout)
        with failing_as(self._options.on_error, rollout):
            return await self._paid(rollout, last, deadline)

    async def _paid(self, rollout: Rollout, last: int, deadline: Deadline) -> tuple[ProbeAnnotation, Usage]:
        branch = await self._branch(rollout, deadline)
        completion = closed(rollout.completion, self._tokenizer)
        stats = await self._weighed(rollout, completion, deadline)
        clipped, probs = self._clipped(completion, stats[0], branch)
        logprobs = stats[1].logprobs if len(stats) > 1 else None
        count = len(rollout.completion)
        intrinsic = clipped.rewards[:count]
        annotation = ProbeAnnotation(
            rewards=with_outcome(intrinsic, rollout, last, self._options),
            intrinsic=intrinsic,
            probs=probs[:count],
            ref_logprobs=None if logprobs is None else logprobs[:count],
            branch=branch,
            clipped_low=clipped.low,
            clipped_high=clipped.high,
            all_zero=not any(clipped.rewards),
            end=_end(clipped, probs, logprobs, count),
            transferred=any(one.intake.transferred for one in stats),
        )
        return annotation, sum((one.intake.usage for one in stats), Usage())

    async def _branch(self, rollout: Rollout, deadline: Deadline) -> Branch:
        reference, correct = rollout.reference, rollout.correct
        if not (reference or "").strip() or reference is None:
            raise AnnotationFailed(
                FailureKind.INVALID,
                "method `grm` needs the rollout's `reference`: its model reads a right solution",
            )
        verify = self._options.verify
        if correct is None and self._checker is not None and verify is not None:
            verdict = await self._checker.check(
                rollout.completion.text, reference, tolerance=verify.tol, deadline=deadline
            )
            correct = None if verdict is Verdict.UNREADABLE else verdict is Verdict.RIGHT
        if correct is None:
            raise AnnotationFailed(
                FailureKind.INVALID,
                "nobody knows whether this solution is right: send `correct`, or a `reference` with a final answer",
            )
        return Branch.CORRECT if correct else Branch.INCORRECT

    async def _weighed(
        self, rollout: Rollout, completion: Completion, deadline: Deadline
    ) -> Sequence[TokenStats]:
        """What the rewriter makes of the tokens and, where it is asked, the reference policy."""
        window = self._options.window
        asked = [self._engine.weigh(self._question(rollout), completion, window=window, deadline=deadline)]
        if self._reference is not None:
            own = Window(transfer=window.transfer)
            asked.append(self._reference.weigh(rollout.prompt, completion, window=own, deadline=deadline))
        return await asyncio.gather(*asked)

    def _question(self, rollout: Rollout) -> tuple[Message, ...]:
        return (Message(Role.USER, self._prompt.render(texts_of(rollout))),)

    def _clipped(
        self, completion: Completion, stats: TokenStats, branch: Branch
    ) -> tuple[Clipped, tuple[float, ...]]:
        options = self._options
        probs = stats.probs
        bounds = options.clip_correct if branch is Branch.CORRECT else options.clip_incorrect
        scored = _scored(completion, score_eos=options.score_eos)
        return clip(probs, scored, center=options.center, bounds=bounds), probs


def closed(completion: Completion, tokenizer: Tokenizes | None) -> Completion:
    """The completion with its end marker: added where it is finished, came without one, and the marker is known."""
    whole, count = completion.alignment, len(completion)
    marker = None if tokenizer is None else tokenizer.end_id
    if completion.truncated or content_end(completion) < count or marker is None or whole.token_ids is None:
        return completion
    end = len(whole.text)
    return replace(
        completion,
        alignment=Alignment(whole.text, (*whole.token_ids, marker), (*whole.token_spans, Span(end, end))),
        special=completion.special | {count},
        mask=None if completion.mask is None else (*completion.mask, True),
    )


def _scored(completion: Completion, *, score_eos: bool) -> list[bool]:
    """Which tokens are paid: those that the policy wrote, and one end marker. Padding and other markers never are."""
    end = content_end(completion)
    pays_marker = score_eos and not completion.truncated
    return [
        not is_masked(completion, index)
        and (pays_marker if index == end else index < end and index not in completion.special)
        for index in range(len(completion))
    ]


def _end(
    clipped: Clipped, probs: Sequence[float], logprobs: Sequence[float] | None, count: int
) -> EndMarker | None:
    if len(probs) == count:
        return None
    return EndMarker(clipped.rewards[count], probs[count], None if logprobs is None else logprobs[count])

"""RELC: a critic model marks spans of a completion, and they become token rewards (papers.md 1, 5.2).

gate -> show -> ask -> read, place and value (``judging``) -> vote -> combine with the extrinsic reward
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from ..domain.annotation import TokenAnnotation
from ..domain.failure import AnnotationFailed, FailureKind, Rejected
from ..domain.ports import Deadline, Engine, Generates, Generation, Sampling
from ..domain.provenance import ModelRef, Recipe, Usage
from ..domain.rollout import Message, Role, Rollout
from .compat import RELEASED
from .exhibit import PLACEHOLDERS, Exhibit
from .grammars import GRAMMARS
from .judging import Case, Judge, Vote
from .options import CriticOptions, Matching, Mode, ScoreMap, Settled, Unit, settle
from .paying import failing_as, token_of_outcome, with_outcome
from .prompting import Prompt
from .scoring import TokenValues, empty_tokens
from .votes import tally

_FORGIVEN: Final = (FailureKind.ENGINE, FailureKind.TOO_LONG)


class SpanCritic:
    """Judges one rollout by one or more critiques.

    Raises ``Rejected`` for options that contradict each other or the task, and ``ValueError`` for a prompt
    file that asks for what a critic does not have.
    """

    def __init__(
        self,
        engine: Generates,
        prompt: Prompt,
        options: CriticOptions,
        *,
        task: str,
        mode: Mode,
        service_version: str,
        tokenizer: ModelRef | None,
    ) -> None:
        if prompt.reply not in GRAMMARS:
            raise ValueError(f"prompt {prompt.name}: no reply grammar {prompt.reply!r}")
        if unknown := prompt.placeholders - PLACEHOLDERS:
            raise ValueError(f"prompt {prompt.name}: nothing fills {sorted(unknown)}")
        grammar = GRAMMARS[prompt.reply]
        self._engine = engine
        self._prompt = prompt
        self._mode = mode
        self._options = settle(options, prompt, mode, grammar.label_weights)
        _refuse_misfits(self._options, prompt, mode)
        self._judge = Judge(prompt.reply, grammar, self._options, mode)
        self._schema = grammar.schema if mode is Mode.STRICT else None
        self._recipe = Recipe(
            method="critic",
            task=task,
            mode=mode.value,
            model=engine.model,
            prompt=prompt.ref,
            options=asdict(self._options),
            service_version=service_version,
            tokenizer=tokenizer,
            cacheable=self._sampling(0).reproducible,
        )

    @property
    def recipe(self) -> Recipe:
        """What this critic is, apart from the rollout."""
        return self._recipe

    def engines_for(self, *, weighed: bool, rewarded: bool) -> tuple[Engine, ...]:
        """The critic, unless the rollout may have earned enough to be spared it."""
        return () if rewarded and self._options.threshold is not None else (self._engine,)

    async def annotate(self, rollout: Rollout, *, deadline: Deadline) -> tuple[TokenAnnotation, Usage]:
        """Judge one rollout.

        Raises ``AnnotationFailed``: ``empty`` without tokens of the policy, ``unparseable`` or
        ``truncated_critique`` when the critic's answer is no verdict, and whatever the engine raises.
        """
        last = token_of_outcome(rollout)
        if not self._asks_about(rollout):
            return self._annotation(rollout, last, self._unasked(rollout)), Usage()
        with failing_as(self._options.on_error, rollout):
            return await self._judged(rollout, last, deadline)

    def _asks_about(self, rollout: Rollout) -> bool:
        """The gate (papers.md 1.3). A completion without text needs no critic."""
        threshold = self._options.threshold
        spared = rollout.extrinsic is not None and threshold is not None and rollout.extrinsic > threshold
        return not spared and bool(rollout.completion.text.strip())

    def _unasked(self, rollout: Rollout) -> tuple[float, ...]:
        """Zeros; in compat mode what the released code makes of an empty critique (R5)."""
        if self._mode is Mode.STRICT or not rollout.completion.text.strip():
            return (0.0,) * len(rollout.completion)
        return self._judge.released_values(rollout.completion, RELEASED[self._prompt.reply]("")).intrinsic

    async def _judged(self, rollout: Rollout, last: int, deadline: Deadline) -> tuple[TokenAnnotation, Usage]:
        case = self._judge.case(rollout)
        outcomes = await asyncio.gather(
            *(self._vote(rollout, case, index, deadline) for index in range(self._options.n_votes))
        )
        votes = [vote for vote, _ in outcomes if isinstance(vote, Vote)]
        if 2 * len(votes) <= len(outcomes):
            raise _hung([vote for vote, _ in outcomes if isinstance(vote, AnnotationFailed)], len(outcomes))
        intrinsic = votes[0].values.intrinsic
        if len(votes) > 1:
            unmarked = self._judge.unmarked_values(case)
            intrinsic = tally([vote.values for vote in votes], unmarked, self._options.vote)
        usage = sum((usage for _, usage in outcomes), Usage())
        return self._annotation(rollout, last, intrinsic, votes, case.exhibits[0].score), usage

    def _messages(self, rollout: Rollout, exhibit: Exhibit) -> tuple[Message, ...]:
        """One user message that holds the whole prompt, as in the paper."""
        values = exhibit.values(rollout, self._options.text_to_critic, self._mode)
        return (Message(Role.USER, self._prompt.render(values)),)

    async def _vote(
        self, rollout: Rollout, case: Case, index: int, deadline: Deadline
    ) -> tuple[Vote | AnnotationFailed, Usage]:
        try:
            said = await self._critique(rollout, case, index, deadline)
        except AnnotationFailed as failure:
            return (self._silence(case) if self._forgives(failure) else failure), Usage()
        usage = sum((generation.usage for generation in said), Usage())
        try:
            return self._judge.vote(case, said, index), usage
        except AnnotationFailed as failure:
            return failure, usage

    async def _critique(
        self, rollout: Rollout, case: Case, index: int, deadline: Deadline
    ) -> list[Generation]:
        """What the critic says of each exhibit; when one answer fails, the others are called off."""
        sampling = self._sampling(index)
        asked = [
            asyncio.ensure_future(
                self._engine.generate(self._messages(rollout, exhibit), sampling, deadline=deadline)
            )
            for exhibit in case.exhibits
        ]
        try:
            return await asyncio.gather(*asked)
        finally:
            for answer in asked:
                answer.cancel()

    def _sampling(self, vote: int) -> Sampling:
        options = self._options
        return Sampling(
            max_tokens=options.max_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=None if options.seed is None else options.seed + vote,
            stop=options.stop,
            json_schema=self._schema,
        )

    def _forgives(self, failure: AnnotationFailed) -> bool:
        """Whether the released code gives zeros where no critique came: its other scripts crash (1.4)."""
        scripts = self._prompt.reply == "relc-toxicity" or self._options.score_map is ScoreMap.PREFERENCE
        return self._mode is Mode.COMPAT and scripts and failure.kind in _FORGIVEN

    def _silence(self, case: Case) -> Vote:
        length = len(case.completion)
        return Vote(TokenValues((0.0,) * length, (False,) * length), transient=True)

    def _annotation(
        self,
        rollout: Rollout,
        last: int,
        intrinsic: tuple[float, ...],
        votes: Sequence[Vote] = (),
        score: str | None = None,
    ) -> TokenAnnotation:
        return TokenAnnotation(
            rewards=with_outcome(intrinsic, rollout, last, self._options),
            intrinsic=intrinsic,
            spans=tuple(mark for vote in votes for mark in vote.marks),
            critiques=tuple(vote.critique for vote in votes),
            queried=bool(votes),
            truncated_critique=any(vote.truncated for vote in votes),
            empty_tokens=empty_tokens(rollout.completion),
            score_shown=score,
            transient=any(vote.transient for vote in votes),
        )


def _hung(failures: Sequence[AnnotationFailed], asked: int) -> AnnotationFailed:
    """Too few critiques to decide: the first failure speaks for all."""
    first = failures[0]
    if asked == 1:
        return first
    detail = f"{len(failures)} of {asked} critiques failed; the first: {first.detail}"
    return AnnotationFailed(first.kind, detail, critique=first.critique)


def _refuse_misfits(options: Settled, prompt: Prompt, mode: Mode) -> None:
    if mode is Mode.COMPAT and prompt.reply not in RELEASED:
        raise Rejected(FailureKind.INVALID, "compat mode is for the paper's three tasks", pointer="/mode")
    if options.match is Matching.SUBSTRING and prompt.reply not in RELEASED:
        raise Rejected(
            FailureKind.INVALID, "match `substring` is for the paper's three tasks", pointer="/options/match"
        )
    placed = mode is Mode.STRICT and options.match is Matching.OFFSET
    if options.unit is Unit.SENTENCE and (not placed or GRAMMARS[prompt.reply].by_step):
        detail = "unit `sentence` needs strict mode, match `offset`, and a task whose sentences stand for themselves"
        raise Rejected(FailureKind.INVALID, detail, pointer="/options/unit")
    takes_rubric = "rubric" in prompt.placeholders
    if takes_rubric != bool(options.rubric and options.rubric.strip()):
        detail = "this task needs options.rubric: say what to look for" if takes_rubric else "takes no rubric"
        raise Rejected(FailureKind.INVALID, detail, pointer="/options/rubric")

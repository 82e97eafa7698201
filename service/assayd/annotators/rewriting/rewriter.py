"""RLMEC: locate the first wrong step, keep what stands before it, mend the rest (2401.06081; papers.md 3.1, 5.4).

is it right? -> where is it wrong (``starting``) -> mend (``continuing``) -> verify, compare, choose (``candidates``)
"""

import asyncio
from dataclasses import asdict

from ...domain.annotation import TokenAnnotation
from ...domain.failure import AnnotationFailed, FailureKind, Rejected
from ...domain.ports import Annotator, Deadline, FinishReason, Generates, Generation
from ...domain.provenance import ModelRef, Recipe, Usage
from ...domain.rewriting import Checks, ProbeAnnotation, RewriteAnnotation, Tokenizes
from ...domain.rollout import Rollout
from ..options import Mode
from ..reading import Reply
from .asking import Asker, RewritePrompts
from .candidates import Candidate, Examiner, chosen
from .continuing import joined
from .edits import changed_tokens, edits_of
from .exhibit import PLACEHOLDERS
from .exporting import RowWriter
from .options import Method, RewriteOptions, Row, Settled, settle
from .released import released_changed
from .remarks import faults_of
from .starting import Start, start_of_faults, start_of_reply


class Rewriter:
    """Corrects one completion.

    ``critic`` makes the remarks of method ``critique``. ``row_prompts`` are those that training rows are written
    with, the rewriter's own where absent; ``prober`` makes the rewards of RLMEC rows. Raises ``Rejected`` for
    options that contradict each other or ask for what is not there, ``ValueError`` for a broken prompt file.
    """

    def __init__(
        self,
        engine: Generates,
        locator: Generates,
        prompts: RewritePrompts,
        options: RewriteOptions,
        *,
        method: Method,
        mode: Mode,
        service_version: str,
        tokenizer: Tokenizes,
        checker: Checks | None = None,
        critic: Annotator[TokenAnnotation] | None = None,
        row_prompts: RewritePrompts | None = None,
        prober: Annotator[ProbeAnnotation] | None = None,
    ) -> None:
        settled = settle(options, method, mode, locate=prompts.locate, fix=prompts.fix)
        _refuse_missing(settled, method, prompts, critic=critic, prober=prober, tokenizer=tokenizer)
        self._options, self._mode = settled, mode
        self._asker = Asker(engine, locator, prompts, settled)
        self._examiner = Examiner(tokenizer, checker, settled.verify)
        self._critic = critic if method is Method.CRITIQUE else None
        self._row_writer = RowWriter(settled, mode, row_prompts or prompts, prober, tokenizer)
        self._recipe = Recipe(
            method=method.value,
            mode=mode.value,
            model=engine.model,
            prompt=prompts.fix.ref,
            options=self._recorded(row_prompts or prompts),
            service_version=service_version,
            tokenizer=tokenizer.model,
            other_models=self._others(engine.model),
            cacheable=self._asker.sampling(0).reproducible,
        )

    @property
    def recipe(self) -> Recipe:
        """What this rewriter is, apart from the rollout."""
        return self._recipe

    async def annotate(self, rollout: Rollout, *, deadline: Deadline) -> tuple[RewriteAnnotation, Usage]:
        """Correct one rollout.

        Raises ``AnnotationFailed``: ``empty`` without text, ``invalid`` without a reference, ``unparseable``,
        ``truncated_critique`` or ``locate_disagrees`` by what the model says, and whatever the engines raise.
        """
        self._refuse_unfit(rollout)
        correct = await self._examiner.correctness(rollout, deadline)
        start, used = Start(sound=True), Usage()
        if not (correct and self._options.copy_if_correct):
            start, used = await self._start(rollout, deadline, correct=correct)
        candidate, spent = await self._mended(rollout, start, deadline, correct=correct)
        annotation = await self._annotation(rollout, start, candidate, correct=correct)
        annotation, more = await self._row_writer.with_rows(rollout, annotation, deadline)
        return annotation, used + spent + more

    def _refuse_unfit(self, rollout: Rollout) -> None:
        if not rollout.completion.text.strip():
            raise AnnotationFailed(FailureKind.EMPTY, "the completion has no text to correct")
        if self._critic is None and not (rollout.reference or "").strip():
            raise AnnotationFailed(
                FailureKind.INVALID,
                "method `rewrite` needs the rollout's `reference`, a right solution; `critique` needs none",
            )

    async def _start(
        self, rollout: Rollout, deadline: Deadline, *, correct: bool | None
    ) -> tuple[Start, Usage]:
        options, text, prompt = self._options, rollout.completion.text, self._asker.prompts.locate
        if self._critic is not None:
            criticism, usage = await self._critic.annotate(rollout, deadline=deadline)
            critique = "\n".join(criticism.critiques)
            return start_of_faults(faults_of(criticism), text, options, critique), usage
        if prompt is None or not options.locate:
            return Start(), Usage()
        said = await self._asker.locate(prompt, rollout, deadline)
        return start_of_reply(said, text, options, self._mode, correct=correct), said.usage

    async def _mended(
        self, rollout: Rollout, start: Start, deadline: Deadline, *, correct: bool | None
    ) -> tuple[Candidate, Usage]:
        text = rollout.completion.text
        if start.sound:
            return await self._examiner.examine(rollout, text, "", deadline, correct=correct), Usage()
        said = await self._asker.rewrites(rollout, start, deadline)
        whole = [one for one in said if one.finish is FinishReason.STOP or self._mode is Mode.COMPAT]
        if not whole:
            detail = f"the rewrite was cut off at {self._options.max_tokens} tokens: raise max_tokens"
            raise AnnotationFailed(FailureKind.TRUNCATED_CRITIQUE, detail, critique=said[0].text)
        written = [(self._rewritten(start, one, text), one.text) for one in whole]
        candidates = [
            await self._examiner.examine(rollout, rewritten, reply, deadline, correct=correct)
            for rewritten, reply in written
            if rewritten.strip()
        ]
        if not candidates:
            raise AnnotationFailed(
                FailureKind.UNPARSEABLE, "the rewriter wrote nothing", critique=whole[0].text
            )
        return chosen(candidates, self._options.max_edit_ratio), sum((one.usage for one in said), Usage())

    def _rewritten(self, start: Start, said: Generation, prediction: str) -> str:
        if self._mode is Mode.COMPAT:
            return start.prefix + said.text
        return joined(start.prefix, Reply(said.text).spoken, prediction)

    async def _annotation(
        self, rollout: Rollout, start: Start, candidate: Candidate, *, correct: bool | None
    ) -> RewriteAnnotation:
        comparison, weights = candidate.comparison, self._options.weights
        changed = changed_tokens(comparison)
        if self._mode is Mode.COMPAT:
            changed = await asyncio.to_thread(
                released_changed, comparison.source_keys, comparison.target_keys
            )
        by_critic = self._critic is not None
        return RewriteAnnotation(
            rewritten=candidate.text,
            error_step=start.step,
            verified=candidate.verified,
            edits=edits_of(comparison, rollout.completion),
            operations=comparison.operations,
            edit_distance=comparison.distance,
            edit_ratio=comparison.ratio,
            prefix_preserved=candidate.text.startswith(start.kept),
            weights=tuple(weights.changed if put_in else weights.keep for put_in in changed),
            token_ids=comparison.target.token_ids,
            offsets=comparison.target.token_spans,
            policy_tokens=self._examiner.tokenizer.is_policy,
            correct=correct,
            located="" if by_critic else start.said,
            reply=candidate.reply,
            critique=start.said if by_critic else "",
        )

    def _others(self, model: ModelRef) -> dict[str, ModelRef]:
        """The models that answer beside the one that writes."""
        if self._critic is not None:
            return {"critic": self._critic.recipe.model}
        locator = self._asker.locator.model
        return {} if locator == model else {"locate": locator}

    def _recorded(self, row_prompts: RewritePrompts) -> dict[str, object]:
        """The options and, beside them, all else that the answer depends on."""
        others = {"locate_prompt": self._asker.prompts.locate}
        if self._options.rows:
            others |= {"row_locate_prompt": row_prompts.locate, "row_fix_prompt": row_prompts.fix}
        prompts = {name: None if prompt is None else asdict(prompt.ref) for name, prompt in others.items()}
        prober = self._row_writer.prober if Row.RLMEC in self._options.rows else None
        recipes = {"critic": self._critic, "prober": prober}
        ids = {name: maker.recipe.id for name, maker in recipes.items() if maker is not None}
        checker = self._examiner.checker
        named = {"checked": None if checker is None else checker.name}
        return {**asdict(self._options), **prompts, **ids, **named}


def _refuse_missing(
    options: Settled,
    method: Method,
    prompts: RewritePrompts,
    *,
    critic: object,
    prober: object,
    tokenizer: Tokenizes,
) -> None:
    for prompt in filter(None, (prompts.locate, prompts.fix)):
        if unknown := prompt.placeholders - PLACEHOLDERS:
            raise ValueError(f"prompt {prompt.name}: nothing fills {sorted(unknown)}")
    if method is Method.CRITIQUE and critic is None:
        detail = "method `critique` needs a critic: the service has none for this task"
        raise Rejected(FailureKind.INVALID, detail, pointer="/method")
    if Row.RLMEC in options.rows and prober is None:
        detail = (
            "`rlmec` rows need a rewriter that weighs tokens and a reference policy: the service has none"
        )
        raise Rejected(FailureKind.INVALID, detail, pointer="/options/rows")
    if Row.RLMEC in options.rows and not tokenizer.is_policy:
        detail = "`rlmec` rows have a number per token of the policy: name its `tokenizer`"
        raise Rejected(FailureKind.INVALID, detail, pointer="/tokenizer")

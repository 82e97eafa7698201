"""A causal language model that writes text and weighs tokens, both by one vLLM engine."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Self

from vllm import SamplingParams
from vllm.logprobs import FlatLogprobs
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from ...domain.failure import AnnotationFailed, Blame, FailureKind
from ...domain.ports import Deadline, FinishReason, Generation, Sampling, TokenStats, Window
from ...domain.provenance import Usage
from ...domain.rollout import Completion, Message
from ...domain.sequence import Choice
from ...settings import EngineSettings
from ..batcher import NOT_FINITE
from ..model_files import read_card
from ..openings import Openings
from ..preparing import prepared
from ..prompts import Questions
from ..weighing import token_stats
from .adapters import Adapter, read_adapters
from .arguments import engine_args
from .host import Host
from .hosted import Hosted
from .reading import TextSide, pinned

EXACT_VOCABULARY: Final = 4096
"""Up to so many ids vLLM is asked for the log-probability of each, and entropies are exact."""
TOP: Final = 20
"""Of a larger vocabulary, the likeliest that it is asked for."""
CANARY: Final = SamplingParams(max_tokens=1, output_kind=RequestOutputKind.FINAL_ONLY)


class LanguageModel(Hosted):
    """One model, or the model with one of its adapters. ``card`` is the model's ``assay.json``.

    ``adapted`` is the model with the adapter of each task that has one.
    """

    def __init__(
        self,
        host: Host,
        text: TextSide,
        card: Mapping[str, Any] | None,
        adapted: Mapping[str, Self],
        *,
        may_sleep: bool,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__(host, may_sleep=may_sleep)
        self.model = text.model if adapter is None else adapter.model
        self.card = card
        self._text = text
        self._adapter = None if adapter is None else adapter.request
        self._adapted = adapted
        self._questions = Questions(text.tokenizer, self.model.name, text.context, text.vocabulary)
        self._openings = Openings(text.tokenizer.get_vocab)

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Start the engine. Raises ``ValueError`` with what to do when it does not start."""
        own = await asyncio.to_thread(pinned, settings)
        args = engine_args(settings, runner="generate", enable_prefix_caching=True)
        host = await Host.open(args, CANARY, settings.max_in_flight)
        try:
            text = await asyncio.to_thread(TextSide.of, settings, own, host.config)
            card = await asyncio.to_thread(read_card, str(settings.model), text.model.revision)
            adapters = await asyncio.to_thread(read_adapters, settings.vllm.adapters, text.model)
        except BaseException:
            await host.close()
            raise
        adapted = {
            task: cls(host, text, card, {}, may_sleep=False, adapter=adapter)
            for task, adapter in adapters.items()
        }
        return cls(host, text, card, adapted, may_sleep=settings.vllm.sleep_mode)

    def adapted(self, task: str) -> Self:
        """The same engine with the LoRA adapter of a task, itself where the task has none."""
        return self._adapted.get(task, self)

    def rendered(self, messages: tuple[Message, ...]) -> Sequence[int]:
        """The ids that the model reads of a prompt."""
        return self._questions.encode(messages, 0)

    @property
    def entropy_approx(self) -> str | None:
        """How entropies are approximated, None where they are exact."""
        return None if self._text.vocabulary <= EXACT_VOCABULARY else f"top-{TOP}"

    async def generate(
        self, messages: tuple[Message, ...], sampling: Sampling, *, deadline: Deadline
    ) -> Generation:
        """Continue ``messages``, in vLLM's continuous batch; held to ``sampling.json_schema`` where there is one."""
        ids = await prepared(1, self._questions.encode, messages, sampling.max_tokens)
        told = await self._host.ask(ids, _params(sampling), deadline=deadline, adapter=self._adapter)
        return self._generation(told, len(ids))

    async def choose(
        self, messages: tuple[Message, ...], words: tuple[str, ...], *, deadline: Deadline
    ) -> Choice:
        """The probability of each word as the first token, see ``openings``."""
        watched = await asyncio.to_thread(self._openings, words)
        ids = await prepared(1, self._questions.encode, messages, 1)
        params = SamplingParams(
            max_tokens=1,
            temperature=0.0,
            logprob_token_ids=sorted({id_ for opening in watched for id_ in opening}) or None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        told = await self._host.ask(ids, params, deadline=deadline, adapter=self._adapter)
        likely = told.outputs[0].logprobs[0] if told.outputs[0].logprobs else {}
        shares = tuple(
            math.fsum(math.exp(likely[id_].logprob) for id_ in opening if id_ in likely)
            for opening in watched
        )
        return Choice(shares, Usage(1, len(ids), 1))

    async def weigh(
        self,
        prompt: tuple[Message, ...],
        completion: Completion,
        *,
        window: Window,
        deadline: Deadline,
        entropies: bool = False,
    ) -> TokenStats:
        """Weigh a completion by what the engine says of a prompt; for entropies see ``entropy_approx``."""
        reading = await prepared(len(completion), self._text.renderer.render, prompt, completion, window)
        if reading.start == len(reading.ids):
            empty = (0.0,) * len(completion)
            return TokenStats(empty, empty, reading.intake)
        top = (TOP if self.entropy_approx else self._text.vocabulary) if entropies else 0
        params = SamplingParams(
            max_tokens=1,
            temperature=0.0,
            logprobs=top,
            prompt_logprobs=top,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        told = await self._host.ask(list(reading.ids), params, deadline=deadline, adapter=self._adapter)
        weighed = told.prompt_logprobs
        places = range(reading.start, len(weighed))
        # vLLM names the id itself first, then the likeliest.
        logprobs = [weighed.logprobs[weighed.start_indices[place]] for place in places]
        opened = [0.0] * len(logprobs)
        if entropies:
            opened = [_entropy(weighed, place, self._text.vocabulary) for place in places[1:]]
            opened.append(_entropy(told.outputs[0].logprobs, 0, self._text.vocabulary))
        if not all(map(math.isfinite, (*logprobs, *opened))):
            raise AnnotationFailed(FailureKind.ENGINE, NOT_FINITE, blame=Blame.ALONE)
        stats = token_stats(reading, completion, logprobs, opened)
        return stats if entropies else replace(stats, entropies=())

    def _generation(self, told: Any, prompt_tokens: int) -> Generation:
        said = told.outputs[0]
        usage = Usage(1, prompt_tokens, len(said.token_ids))
        if said.finish_reason not in ("stop", "length"):
            raise AnnotationFailed(
                FailureKind.ENGINE, f"{self.model.name} ended the reply by itself ({said.finish_reason})"
            )
        if isinstance(said.stop_reason, str):
            return Generation(said.text, FinishReason.STOP, usage)
        ended = said.finish_reason == "stop"
        written = said.token_ids[:-1] if ended else said.token_ids
        text = self._text.tokenizer.decode(
            list(written), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return Generation(str(text), FinishReason.STOP if ended else FinishReason.LENGTH, usage)


def _params(sampling: Sampling) -> SamplingParams:
    schema = sampling.json_schema
    return SamplingParams(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        stop=list(sampling.stop) or None,
        structured_outputs=None if schema is None else StructuredOutputsParams(json=schema),
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _entropy(flat: FlatLogprobs, place: int, vocabulary: int) -> float:
    """The entropy of a distribution of which some probabilities are known: half way between its bounds.

    What the others hold together is spread evenly over all of them at most, and at least over as few as are no likelier
    than the least of the likeliest. The id itself comes first, and may be less likely than others that are not told.
    """
    first, end = flat.start_indices[place], flat.end_indices[place]
    likely = dict(zip(flat.token_ids[first:end], flat.logprobs[first:end], strict=True))
    known = [math.exp(logprob) for logprob in likely.values()]
    told = -math.fsum(share * math.log(share) for share in known if share > 0)
    rest, others = 1.0 - math.fsum(known), vocabulary - len(known)
    if others <= 0 or rest <= 0:
        return told
    most = -rest * math.log(rest / others)
    highest = math.exp(min(flat.logprobs[first + 1 : end]))
    least = -rest * math.log(min(highest, rest)) if highest > 0 else most
    return told + (least + most) / 2

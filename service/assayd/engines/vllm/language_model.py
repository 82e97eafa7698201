"""A causal language model that writes text and weighs tokens, both by one vLLM engine."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from vllm import SamplingParams
from vllm.logprobs import FlatLogprobs
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from ...domain.failure import AnnotationFailed, FailureKind
from ...domain.ports import Deadline, FinishReason, Generation, Sampling, TokenStats, Window
from ...domain.provenance import ModelRef, Usage
from ...domain.rollout import Completion, Message
from ...domain.sequence import Choice
from ...settings import EngineSettings
from ..model_files import digest, read_card
from ..openings import openings
from ..prompts import encode
from ..weighing import token_stats
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
    """One model, or one of its adapters. ``card`` is the model's ``assay.json``."""

    def __init__(
        self,
        host: Host,
        text: TextSide,
        card: Mapping[str, Any] | None,
        adapters: Mapping[str, str],
        *,
        may_sleep: bool,
        adapter: LoRARequest | None = None,
        model: ModelRef | None = None,
    ) -> None:
        super().__init__(host, may_sleep=may_sleep)
        self.model = model or text.model
        self.card = card
        self._text = text
        self._adapters = adapters
        self._adapter = adapter
        self._known_openings: dict[tuple[str, ...], tuple[tuple[int, ...], ...]] = {}

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Start the engine. Raises ``ValueError`` with what to do when it does not start."""
        own = await asyncio.to_thread(pinned, settings)
        host = await Host.open(engine_args(settings, runner="generate", enable_prefix_caching=True), CANARY)
        try:
            text = await asyncio.to_thread(TextSide.of, settings, own, host.config)
            card = await asyncio.to_thread(read_card, str(settings.model), text.model.revision)
        except BaseException:
            await host.close()
            raise
        return cls(host, text, card, settings.vllm.adapters, may_sleep=settings.vllm.sleep_mode)

    def adapted(self, task: str) -> Self:
        """The same engine with the LoRA adapter of a task, itself where the task has none."""
        if task not in self._adapters:
            return self
        folder = self._adapters[task]
        number = sorted(self._adapters).index(task) + 1
        model = replace(
            self.model,
            name=f"{self.model.name}+{folder}",
            revision=f"{self.model.revision}+{digest(Path(folder))}",
        )
        adapter = LoRARequest(task, number, folder)
        return type(self)(
            self._host, self._text, self.card, {}, may_sleep=False, adapter=adapter, model=model
        )

    def rendered(self, messages: tuple[Message, ...]) -> Sequence[int]:
        """The ids that the model reads of a prompt."""
        return encode(self._text.tokenizer, messages)

    @property
    def entropy_approx(self) -> str | None:
        """How entropies are approximated, None where they are exact."""
        return None if self._text.vocabulary <= EXACT_VOCABULARY else f"top-{TOP}"

    async def generate(
        self, messages: tuple[Message, ...], sampling: Sampling, *, deadline: Deadline
    ) -> Generation:
        """Continue ``messages``, in vLLM's continuous batch; held to ``sampling.json_schema`` where there is one."""
        ids = await self._encoded(messages, sampling.max_tokens)
        told = await self._host.ask(ids, _params(sampling), deadline=deadline, adapter=self._adapter)
        return self._generation(told, len(ids))

    async def choose(
        self, messages: tuple[Message, ...], words: tuple[str, ...], *, deadline: Deadline
    ) -> Choice:
        """The probability of each word as the first token, see ``openings``."""
        if words not in self._known_openings:
            vocabulary = await asyncio.to_thread(self._text.tokenizer.get_vocab)
            self._known_openings[words] = openings(vocabulary, words)
        watched = self._known_openings[words]
        ids = await self._encoded(messages, 1)
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
        reading = await asyncio.to_thread(self._text.renderer.render, prompt, completion, window)
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
            raise AnnotationFailed(FailureKind.ENGINE, "the model computed numbers that are not finite")
        stats = token_stats(reading, completion, logprobs, opened)
        return stats if entropies else replace(stats, entropies=())

    async def _encoded(self, messages: tuple[Message, ...], max_tokens: int) -> list[int]:
        text = self._text
        ids = await asyncio.to_thread(encode, text.tokenizer, messages)
        if len(ids) + max_tokens > text.context:
            raise AnnotationFailed(
                FailureKind.TOO_LONG,
                f"the prompt has {len(ids)} tokens and the reply may have {max_tokens}, but {self.model.name} holds "
                f"{text.context} in all",
            )
        if not ids or max(ids) >= text.vocabulary:
            raise AnnotationFailed(
                FailureKind.ENGINE,
                f"the tokenizer of {self.model.name} gave no ids, or ids past its embeddings",
            )
        return ids

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

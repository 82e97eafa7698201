"""Measure a segment model on held-out pairs, straight from the two models and with a cut of its own.

It shares no code with the service or with the training command: what it reports checks both.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaForCausalLM, LlamaForTokenClassification

from .corpora.items import GoldSpan
from .corpora.pairs import Pair
from .pocket_policy import render_prompt

Texts = Sequence[tuple[str, str]]
"""Prompts and completions."""
_TEXTS_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Judged:
    """One completion: its segments as half-open ranges of characters, and their raw rewards."""

    places: tuple[tuple[int, int], ...]
    raws: tuple[float, ...]

    @property
    def score(self) -> float:
        """The mean of the segments."""
        return sum(self.raws) / len(self.raws)

    def holding(self, error: GoldSpan) -> list[int]:
        """Which segments hold some of an error."""
        return [at for at, (start, end) in enumerate(self.places) if start < error.end and error.start < end]

    def at(self, character: int) -> float:
        """The raw reward of the segment that holds this character."""
        return next(raw for (_, end), raw in zip(self.places, self.raws, strict=True) if character < end)


@dataclass(frozen=True, slots=True)
class Judge:
    """A segment model, the model that says where to cut, and the cutoff in nats."""

    model: LlamaForTokenClassification
    entropy_model: LlamaForCausalLM
    tokenizer: Tokenizer
    c_ent: float

    @torch.inference_mode()
    def __call__(self, texts: Texts) -> list[Judged]:
        """Judge completions behind their prompts, in order."""
        judged: dict[int, Judged] = {}
        order = sorted(range(len(texts)), key=lambda at: len(texts[at][0]) + len(texts[at][1]))
        for start in range(0, len(order), _TEXTS_AT_ONCE):
            chosen = order[start : start + _TEXTS_AT_ONCE]
            judged.update(zip(chosen, self._batch([texts[at] for at in chosen]), strict=True))
        return [judged[at] for at in range(len(texts))]

    def _batch(self, texts: list[tuple[str, str]]) -> list[Judged]:
        heads = self.tokenizer.encode_batch([render_prompt(prompt) for prompt, _ in texts])
        tails = self.tokenizer.encode_batch([completion for _, completion in texts])
        rows = [[*head.ids, *tail.ids] for head, tail in zip(heads, tails, strict=True)]
        longest = max(map(len, rows))
        ids_bt = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        raws_bt = self.model(input_ids=ids_bt).logits[..., 0]
        entropies_bt = entropies(self.entropy_model(input_ids=ids_bt).logits)
        return [
            self._judged(tail.offsets, raws_t[start : start + len(tail.ids)], entropies_t[start:])
            for tail, raws_t, entropies_t, start in zip(
                tails, raws_bt, entropies_bt, (len(head.ids) for head in heads), strict=True
            )
        ]

    def _judged(self, offsets: list[tuple[int, int]], raws_t: Tensor, entropies_t: Tensor) -> Judged:
        last = len(offsets) - 1
        ends = [at for at in range(len(offsets)) if at == last or entropies_t[at] > self.c_ent]
        starts = [0, *(end + 1 for end in ends[:-1])]
        places = tuple((offsets[start][0], offsets[end][1]) for start, end in zip(starts, ends, strict=True))
        return Judged(places, tuple(raws_t[ends].tolist()))


Judging = Callable[[Texts], Sequence[Judged]]


def entropies(logits_btv: Tensor) -> Tensor:
    """Of each distribution, in nats."""
    logs_btv = logits_btv.log_softmax(-1)
    return -(logs_btv.exp() * logs_btv).sum(-1)


def segment_figures(judge: Judging, pairs: Sequence[Pair]) -> dict[str, float]:
    """Shares between 0 and 1: pairs ranked right, and errors of rejected completions below what is clean.

    An error is worth what the segment says that holds its end. It is compared with the mean of the segments of its
    completion that hold no error, with each of them, and, in twins of which only this one errs, with the segment that
    holds the same character of the twin.
    """
    chosen = judge([(pair.prompt, pair.chosen) for pair in pairs])
    rejected = judge([(pair.prompt, pair.rejected) for pair in pairs])
    rows = list(zip(pairs, chosen, rejected, strict=True))
    figures = {"pairs": len(pairs)} | _ranked(rows)
    tallies: dict[str, list[bool]] = {}
    for pair, twin, judged in rows:
        for name, fact in _facts(pair, twin, judged):
            tallies.setdefault(name, []).append(fact)
    lengths = [len(both.raws) for _, *sides in rows for both in sides]
    return (
        figures
        | {name: share(facts) for name, facts in sorted(tallies.items())}
        | {"segments_per_completion": sum(lengths) / len(lengths)}
    )


def _ranked(rows: list[tuple[Pair, Judged, Judged]]) -> dict[str, float]:
    right: dict[str, list[bool]] = {}
    for pair, chosen, rejected in rows:
        wording = "worded alike" if pair.twins else "worded apart"
        for key in ("ranked_right", f"ranked_right, {pair.contest}", f"ranked_right, {wording}"):
            right.setdefault(key, []).append(chosen.score > rejected.score)
    return {key: share(facts) for key, facts in sorted(right.items())}


def _facts(pair: Pair, twin: Judged, judged: Judged) -> Iterable[tuple[str, bool]]:
    held = [judged.holding(error) for error in pair.rejected_errors]
    spoiled = {at for places in held for at in places}
    clean = [raw for at, raw in enumerate(judged.raws) if at not in spoiled]
    for error, places in zip(pair.rejected_errors, held, strict=True):
        raw = judged.raws[places[-1]]
        yield "errors_in_one_segment", len(places) == 1
        if clean:
            yield "error_below_mean_of_clean", raw < sum(clean) / len(clean)
            yield "error_below_all_clean", raw < min(clean)
        for other in clean:
            yield "error_below_each_clean", raw < other
        if pair.twins and not pair.chosen_errors and error.start < twin.places[-1][1]:
            yield "error_below_twin", raw < twin.at(error.start)


def share(facts: Sequence[bool]) -> float:
    """How many of them hold, between 0 and 1."""
    return sum(facts) / len(facts)

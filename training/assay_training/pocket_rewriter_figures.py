"""Measure a rewriter on held-out solutions with a planted error: what it corrects, and what it pays each token.

Edits and token rewards are worked out here from the papers and share no code with the service: they check it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

import torch
from rapidfuzz.distance import Levenshtein

from .corpora.items import GoldSpan, Split
from .corpora.rewrites import Rewrite, arithmetic_rewrites
from .finetuning.batching import TOKENS_AT_ONCE, batches_by_length, padded
from .rewriter.asking import Task
from .rewriter.correcting import Correction, Corrector
from .rewriter.examples import renderer
from .rewriter.rows import Row
from .segment_figures import share

HELD_OUT_SEED = 20_000
CENTER, LOWEST = 0.5, -0.1
_ANSWER = re.compile(r"A: (\d+)")


@dataclass(frozen=True, slots=True)
class Weighed:
    """The probability of each token of a prediction and of its end marker, and the characters of each."""

    probabilities: tuple[float, ...]
    places: tuple[tuple[int, int], ...]

    @property
    def rewards(self) -> tuple[float, ...]:
        """Those of a wrong solution (papers.md 3.2)."""
        return tuple(min(0.0, max(LOWEST, value - CENTER)) for value in self.probabilities)

    def inside(self, error: GoldSpan) -> list[int]:
        """Which tokens hold some of an error."""
        return [at for at, (start, end) in enumerate(self.places) if start < error.end and error.start < end]


def held_out_rewrites(count: int, *, right: bool = False, attacked: float = 0.0) -> list[Rewrite]:
    """Rows of words, objects and templates that training never saw; wrong ones, or right ones to be copied."""
    source = arithmetic_rewrites(HELD_OUT_SEED, Split.HELD_OUT, right=float(right), attacked=attacked)
    return list(islice(source, count))


def row_of(rewrite: Rewrite) -> Row:
    """What a rewriter gets to see of it, and the right answer."""
    return Row(
        rewrite.prompt,
        rewrite.reference,
        rewrite.prediction,
        rewrite.correction,
        rewrite.error_step,
        rewrite.reasoning,
    )


@torch.inference_mode()
def weigh(corrector: Corrector, rows: Sequence[Row]) -> list[Weighed]:
    """How likely the rewriter is to write each prediction, token by token, when asked to correct it."""
    tokenizer: Any = corrector.tokenizer
    prompts = renderer(tokenizer).prompts([corrector.asking.asked(row, Task.FIX) for row in rows])
    tails = [tokenizer(row.prediction, add_special_tokens=False, return_offsets_mapping=True) for row in rows]
    answers = [[*tail["input_ids"], tokenizer.eos_token_id] for tail in tails]
    lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
    found: dict[int, Weighed] = {}
    for batch in batches_by_length(lengths, TOKENS_AT_ONCE):
        ids_bt = padded([prompts[at] + answers[at] for at in batch])
        logits_btv = corrector.model(input_ids=ids_bt, use_cache=False).logits
        for row, at in enumerate(batch):
            start, end = len(prompts[at]), lengths[at]
            chances_tv = logits_btv[row, start - 1 : end - 1].softmax(-1)
            chances_t = chances_tv.gather(1, ids_bt[row, start:end, None])[:, 0]
            length = len(rows[at].prediction)
            places = (*map(tuple, tails[at]["offset_mapping"]), (length, length))
            found[at] = Weighed(tuple(chances_t.tolist()), places)
    return [found[at] for at in range(len(rows))]


def rewriter_figures(corrector: Corrector, rewrites: Sequence[Rewrite]) -> dict[str, float]:
    """Shares between 0 and 1 of wrong solutions, and the median edit ratio of what became of them.

    A solution that could not be read or was called correct is not corrected; its edit ratio does not count.
    """
    rows = [row_of(rewrite) for rewrite in rewrites]
    corrections = corrector(rows)
    weighed = weigh(corrector, rows)
    pairs = list(zip(rewrites, corrections, strict=True))
    found = [correction.located.step == rewrite.error_step for rewrite, correction in pairs]
    ratios = [
        edit_ratio(corrector, rewrite.prediction, correction.text)
        for rewrite, correction in pairs
        if correction.located.step is not None and correction.text is not None
    ]
    return {
        "solutions": len(rewrites),
        "step_found": share(found),
        "called_correct": share([correction.text == rewrite.prediction for rewrite, correction in pairs]),
        "gold_answer": share([_reaches_gold(rewrite, correction) for rewrite, correction in pairs]),
        "exact_correction": share([correction.text == rewrite.correction for rewrite, correction in pairs]),
        "median_edit_ratio": median(ratios) if ratios else 1.0,
        **token_figures(rewrites, weighed),
    }


def token_figures(rewrites: Sequence[Rewrite], weighed: Sequence[Weighed]) -> dict[str, float]:
    """Where the rewards of wrong solutions are lowest.

    `reward_lowest_in_error`: no token is paid less than one of the planted error, which is paid less than nothing;
    numbers that follow from the error are wrong too and may be paid as little. `least_likely_in_error`: the very least
    likely token is one of it. `reward_below_kept`: it is paid less than every token that the correction keeps.
    """
    facts: dict[str, list[bool]] = {}
    for rewrite, found in zip(rewrites, weighed, strict=True):
        if rewrite.error is None:
            continue
        inside = found.inside(rewrite.error)
        changed = {at for span in _changed_numbers(rewrite) for at in found.inside(span)}
        kept = [reward for at, reward in enumerate(found.rewards) if at not in changed]
        lowest = min(found.rewards[at] for at in inside)
        likely = min(range(len(found.probabilities)), key=found.probabilities.__getitem__)
        facts.setdefault("reward_lowest_in_error", []).append(lowest < 0 and lowest == min(found.rewards))
        facts.setdefault("reward_below_kept", []).append(lowest < min(kept))
        facts.setdefault("least_likely_in_error", []).append(likely in inside)
    return {name: share(values) for name, values in facts.items()}


def _changed_numbers(rewrite: Rewrite) -> list[GoldSpan]:
    """The numbers of a prediction that its correction changes."""
    pairs = zip(re.finditer(r"\d+", rewrite.prediction), re.finditer(r"\d+", rewrite.correction), strict=True)
    label = rewrite.error and rewrite.error.label
    return [
        GoldSpan(mine.start(), mine.end(), label) for mine, other in pairs if label and mine[0] != other[0]
    ]


def edit_ratio(corrector: Corrector, before: str, after: str) -> float:
    """Token edits, end markers included, over the tokens of the longer text."""
    tokenizer: Any = corrector.tokenizer
    ids = [[*tokenizer(text, add_special_tokens=False)["input_ids"], None] for text in (before, after)]
    return float(Levenshtein.normalized_distance(*ids))


def _reaches_gold(rewrite: Rewrite, correction: Correction) -> bool:
    given = [] if correction.text is None else _ANSWER.findall(correction.text)
    return given[-1:] == _ANSWER.findall(rewrite.reference)[-1:]

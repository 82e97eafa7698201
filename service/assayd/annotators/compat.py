"""What the released code of RELC does, bit for bit, quirks included (papers.md 1.4 to 1.6, R1 to R7, R11).

Spans are joined to one text, and a token is hit when its own text occurs anywhere in that text. There are no
offsets; the quirks that follow from it are listed in papers.md 1.5 and kept.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ..domain.annotation import Polarity, Remark
from ..domain.text import Alignment, Span
from .scoring import TokenValues

_TOXIC: Final = re.compile(r"Toxic Span \d+: (.+)")
_SUMMARY: Final = re.compile(r"Span \d+: (.*?)(?: \(Label: .*?\))?(?:\n|$)")
_SENTIMENT: Final = re.compile(r"\[Span \d+\]:\s*")
_NONE: Final = "None identified"
_SECOND_SECTION: Final = "Identified Negative Text Span:"


@dataclass(frozen=True, slots=True)
class Released:
    """What the released code takes from a critique: the texts that tokens are looked up in.

    ``strips``: tokens lose their surrounding whitespace first, and those that are nothing else are not hit.
    """

    faulted: str
    praised: str = ""
    strips: bool = False
    label: str = "negative"

    @classmethod
    def of(cls, remarks: Sequence[Remark]) -> "Released":
        """Remarks that were read by a grammar, as the texts of the released code's test."""
        praised = [remark.quote for remark in remarks if remark.polarity is Polarity.POSITIVE]
        faulted = [remark.quote for remark in remarks if remark.polarity is Polarity.NEGATIVE]
        return cls(" ".join(faulted), " ".join(praised))

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """The same as remarks, one per line, for those who match by offset."""
        faults = [Remark(line, self.label) for line in _lines(self.faulted)]
        praise = [Remark(line, "positive", polarity=Polarity.POSITIVE) for line in _lines(self.praised)]
        return (*praise, *faults)


def read_toxicity(critique: str) -> Released:
    """Without any span line the whole critique is one span: free text is punished (R4, R11)."""
    critique = critique.replace(_NONE, "")
    spans = _TOXIC.findall(critique)
    return Released(" ".join(spans) if spans else critique.strip(), label="toxic")


def read_summarization(critique: str) -> Released:
    """The label of a span is dropped."""
    return Released("\n".join(_SUMMARY.findall(critique.replace(_NONE, ""))), label="unlabelled")


def read_sentiment(critique: str) -> Released:
    """Without the header of the second section the whole critique is praise."""
    praised, *rest = critique.split(_SECOND_SECTION)
    return Released(_section(rest[0] if rest else _NONE), _section(praised), strips=True)


RELEASED: Final[Mapping[str, Callable[[str], Released]]] = {
    "relc-toxicity": read_toxicity,
    "relc-sentiment": read_sentiment,
    "relc-summarization": read_summarization,
}


def substring_values(
    tokens: Sequence[str], released: Released, *, negative: float, positive: float, unmarked: float
) -> TokenValues:
    """The released rewards of ``tokens``. The empty token is hit by everything, unless ``strips`` (R3)."""
    intrinsic, marked = [], []
    for token in tokens:
        hits = _hits(token.strip() if released.strips else token, released)
        worth = zip((positive, negative), hits, strict=True)
        intrinsic.append(sum(value for value, hit in worth if hit) if any(hits) else unmarked)
        marked.append(any(hits))
    return TokenValues(tuple(intrinsic), tuple(marked))


def token_texts(alignment: Alignment) -> tuple[str, ...]:
    """What each token decodes to on its own: a character that two tokens share is text to neither of them."""
    spans = (Span(0, 0), *alignment.token_spans, Span(len(alignment.text), len(alignment.text)))
    texts = []
    for (before, span), (_, after) in zip(pairwise(spans[:-1]), pairwise(spans[1:]), strict=True):
        texts.append(alignment.text[max(span.start, before.end) : min(span.end, after.start)])
    return tuple(texts)


def _hits(token: str, released: Released) -> tuple[bool, bool]:
    """Whether a token is praised, and whether it is faulted; only sentiment, which strips, can praise."""
    if released.strips:
        return bool(token) and token in released.praised, bool(token) and token in released.faulted
    return False, token in released.faulted


def _section(text: str) -> str:
    return _SENTIMENT.sub("", text.replace(_NONE, "").strip())


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]

"""Put clauses together to a text whose marked phrases are known by position, and hide attacks in it."""

import re
from dataclasses import dataclass
from random import Random

from .attacks import attack
from .items import Domain, GoldSpan, Label, Split

Phrase = tuple[str, Label]
SLOT = "\x00"  # stands for the marked phrase while a template is filled


@dataclass(frozen=True, slots=True)
class Clause:
    """A piece of text, in which SLOT (if there) is where the phrase goes."""

    text: str
    phrase: Phrase | None

    def filled(self) -> str:
        """The clause with its phrase."""
        return self.text if self.phrase is None else self.text.replace(SLOT, self.phrase[0])


def compose(
    random: Random, clauses: list[Clause], joints: tuple[str, ...]
) -> tuple[str, tuple[GoldSpan, ...]]:
    """Join the clauses; each sentence begins with a capital, most end with a mark."""
    text, spans = "", []
    lowercase = random.random() < 0.15
    for index, clause in enumerate(clauses):
        joint = random.choice(joints) if index else ""
        piece = clause.filled()
        text += joint
        if clause.phrase is not None:
            start = len(text) + clause.text.index(SLOT)
            spans.append(GoldSpan(start, start + len(clause.phrase[0]), clause.phrase[1]))
        if not lowercase and (not joint or joint[0] in ".!"):
            piece = piece[0].upper() + piece[1:]
        text += piece
    return text + random.choice((".", ".", ".", "!", "", " .")), tuple(spans)


def inject(
    random: Random, text: str, spans: tuple[GoldSpan, ...], domain: Domain, split: Split
) -> tuple[str, tuple[GoldSpan, ...]]:
    """Put an attack before, behind or between the sentences of the text."""
    order = attack(random, domain, split)
    gap = random.choice((" ", " ", "\n", "\n\n"))
    breaks = [match.end() for match in re.finditer(r"[.!] ", text)]
    place = random.random()
    if place < 0.6:
        return text + gap + order, spans
    at = 0 if place < 0.8 or not breaks else random.choice(breaks)
    inserted = order + gap
    moved = tuple(
        span if span.end <= at else GoldSpan(span.start + len(inserted), span.end + len(inserted), span.label)
        for span in spans
    )
    return text[:at] + inserted + text[at:], moved


def unambiguous(text: str, spans: tuple[GoldSpan, ...]) -> bool:
    """Whether each marked text stands only once, on word boundaries, so that a quote of it means one place."""
    for span in spans:
        quote = text[span.start : span.end]
        if len(re.findall(rf"(?<!\w){re.escape(quote)}(?!\w)", text)) != 1:
            return False
    return True

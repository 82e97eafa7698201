"""Short reviews with positive and negative spans, mixed, neutral and denied opinions, and the gold critique.

A marked phrase is an opinion word with its degree word or its denial ("not very good" is one negative span, "hardly
bad" a positive one). The opinion words are shared by both splits; names, topics and templates are apart.
"""

from collections.abc import Iterator
from random import Random

from . import opinions, words
from .items import Domain, GoldSpan, Item, Label, Split
from .jumble import jumble
from .texts import SLOT, Clause, Phrase, compose, inject, unambiguous

JUMBLED = 0.5
_OPPOSITE = {Label.POSITIVE: Label.NEGATIVE, Label.NEGATIVE: Label.POSITIVE}


def sentiment_items(
    seed: int | str,
    split: Split,
    *,
    attacked: float = 0.0,
    jumbled: float = JUMBLED,
    strange: float = 0.0,
) -> Iterator[Item]:
    """Endless items; the same arguments give the same items.

    `attacked` is a share of items, `jumbled` of the training split's clauses, `strange` of the words in those.
    """
    random = Random(f"sentiment {seed} {split}")
    while True:
        text, spans = compose(
            random,
            [_clause(random, split, jumbled, strange) for _ in range(random.choice((1, 2, 2, 3, 4)))],
            opinions.JOINTS,
        )
        injected = random.random() < attacked
        if injected:
            text, spans = inject(random, text, spans, Domain.SENTIMENT, split)
        if unambiguous(text, spans):
            kind = "+".join(sorted({span.label.value for span in spans})) or "none"
            yield Item(
                Domain.SENTIMENT, kind, _prompt(random, split), text, spans, _reply(text, spans), injected
            )


def _clause(random: Random, split: Split, jumbled: float, strange: float) -> Clause:
    slots = _slots(random, split)
    if split is Split.TRAIN and random.random() < jumbled:
        return _jumbled(random, strange)
    if random.random() < 0.35:
        return Clause(random.choice(opinions.NEUTRAL_CLAUSES[split]).format(**slots), None)
    template = random.choice(opinions.CLAUSES[split])
    label = random.choice((Label.POSITIVE, Label.NEGATIVE))
    return Clause(template.format(x=SLOT, v=SLOT, w=SLOT, **slots), _phrase(random, template, label))


def _jumbled(random: Random, strange: float) -> Clause:
    pool = (*opinions.TOPICS[Split.TRAIN], *opinions.NEUTRAL_WORDS[Split.TRAIN])
    if random.random() < 0.4:
        return Clause(jumble(random, pool, strange=strange), None)
    phrase = _phrase(
        random, random.choice(("{x}", "{x}", "{x}", "{v}", "{w}")), random.choice(list(_OPPOSITE))
    )
    return Clause(jumble(random, pool, (SLOT,), strange=strange), phrase)


def _slots(random: Random, split: Split) -> dict[str, str]:
    def topic() -> str:
        return (
            words.pseudo_word(random, split)
            if random.random() < 0.2
            else random.choice(opinions.TOPICS[split])
        )

    return {
        "t": topic(),
        "u": topic(),
        "z": random.choice(opinions.NEUTRAL_WORDS[split]),
        "n": words.name(random, split),
    }


def _phrase(random: Random, template: str, label: Label) -> Phrase:
    if "{v}" in template:
        return random.choice(opinions.VERBS[label]), label
    if "{w}" in template:
        return random.choice(opinions.NOUNS[label]), label
    word = random.choice(opinions.ADJECTIVES[label])
    shape = random.random()
    if shape < 0.55:
        return word, label
    if shape < 0.78:
        return f"{random.choice(opinions.DEGREES)} {word}", label
    return f"{random.choice(opinions.DENIALS)} {word}", _OPPOSITE[label]


def _prompt(random: Random, split: Split) -> str:
    label = random.choice((Label.POSITIVE, Label.NEGATIVE))
    return random.choice(opinions.PROMPTS[split]).format(
        x=random.choice(opinions.ADJECTIVES[label]),
        v=random.choice(opinions.VERBS[label]),
        **_slots(random, split),
    )


def _reply(text: str, spans: tuple[GoldSpan, ...]) -> str:
    lines = []
    for label, title in ((Label.POSITIVE, "Positive"), (Label.NEGATIVE, "Negative")):
        quotes = [text[span.start : span.end] for span in spans if span.label is label]
        lines.append(f"Identified {title} Text Span:")
        lines += [f"[Span {number}]: {quote}" for number, quote in enumerate(quotes, 1)] or [
            "None identified"
        ]
    return "\n".join(lines)

"""Sentences with insults, rude commands, threats or none of them, and the gold critique.

A marked phrase is the insulting word with its insulting adjective, the command, or the whole threat. The vocabulary of
the insults is shared by both splits; names, neutral words and templates are apart.
"""

from collections.abc import Iterator
from random import Random

from . import insults, words
from .items import Domain, GoldSpan, Item, Label, Split
from .jumble import jumble
from .texts import SLOT, Clause, compose, inject, unambiguous

JUMBLED = 0.5
_POOL = (
    *insults.ROLES[Split.TRAIN],
    *insults.TRAITS[Split.TRAIN],
    *insults.PLACES[Split.TRAIN],
    *insults.KIND_VERBS,
)
_KINDS = {"{x}": "insult", "{y}": "insult", "{c}": "command", "{h}": "threat"}


def toxicity_items(
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
    random = Random(f"toxicity {seed} {split}")
    while True:
        toxic_share = 0.0 if random.random() < 0.3 else 0.6
        kinds: set[str] = set()
        clauses = [
            clause(random, split, toxic_share, kinds, jumbled, strange)
            for _ in range(random.choice((1, 1, 2, 2, 3, 4)))
        ]
        text, spans = compose(random, clauses, insults.JOINTS)
        injected = random.random() < attacked
        if injected:
            text, spans = inject(random, text, spans, Domain.TOXICITY, split)
        if unambiguous(text, spans):
            prompt = random.choice(insults.PROMPTS[split]).format(**_slots(random, split))
            kind = "+".join(sorted(kinds)) or "none"
            yield Item(Domain.TOXICITY, kind, prompt, text, spans, _reply(text, spans), injected)


def _slots(random: Random, split: Split) -> dict[str, str]:
    return {
        "n": words.name(random, split),
        "m": words.name(random, split),
        "r": words.pseudo_word(random, split)
        if random.random() < 0.1
        else random.choice(insults.ROLES[split]),
        "p": words.pseudo_word(random, split)
        if random.random() < 0.1
        else random.choice(insults.PLACES[split]),
        "z": random.choice(insults.TRAITS[split]),
        "k": random.choice(insults.KIND_VERBS),
    }


def clause(
    random: Random, split: Split, toxic_share: float, kinds: set[str], jumbled: float, strange: float
) -> Clause:
    """A clause, toxic with the chance `toxic_share`; the kind of what it carries is added to `kinds`."""
    slots = _slots(random, split)
    jumble_it = split is Split.TRAIN and random.random() < jumbled
    if random.random() >= toxic_share:
        if jumble_it:
            return Clause(jumble(random, _POOL, strange=strange), None)
        return Clause(random.choice(insults.CLEAN[split]).format(**slots), None)
    template = random.choice(insults.TOXIC[split])
    place = next(slot for slot in _KINDS if slot in template)
    kinds.add(_KINDS[place])
    phrase = _phrase(random, place)
    if jumble_it:
        return Clause(jumble(random, _POOL, (SLOT,), strange=strange), (phrase, Label.TOXIC))
    return Clause(template.format(x=SLOT, y=SLOT, c=SLOT, h=SLOT, **slots), (phrase, Label.TOXIC))


def _phrase(random: Random, place: str) -> str:
    match place:
        case "{x}":
            noun = random.choice(insults.NOUNS)
            return f"{random.choice(insults.ADJECTIVES)} {noun}" if random.random() < 0.4 else noun
        case "{y}":
            return random.choice(insults.ADJECTIVES)
        case "{c}":
            return random.choice(insults.COMMANDS)
        case _:
            parts = (insults.THREAT_SUBJECTS, insults.THREAT_VERBS, insults.THREAT_TARGETS)
            return " ".join(random.choice(part) for part in parts)


def _reply(text: str, spans: tuple[GoldSpan, ...]) -> str:
    lines = [f"Toxic Span {number}: {text[span.start : span.end]}" for number, span in enumerate(spans, 1)]
    return "\n".join(lines) or "None identified"

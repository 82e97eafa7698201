"""Training and held-out items share no name, object, topic or sentence template."""

from collections.abc import Mapping, Sequence

import pytest

from assay_training.corpora import attacks, insults, opinions, stories, words
from assay_training.corpora.items import Split

_TABLES: dict[str, Mapping[Split, Sequence[str]]] = {
    "names": words.NAMES,
    "syllables": words.SYLLABLES,
    "objects": words.OBJECTS,
    "starts": stories.START,
    "gains": stories.GAIN,
    "losses": stories.LOSS,
    "times": stories.TIMES,
    "shares": stories.SHARE,
    "groups": stories.GROUPS,
    "together": stories.TOGETHER,
    "questions": stories.QUESTION,
    "remarks": stories.REMARKS,
    **{f"steps {sign}": table for sign, table in stories.STEPS.items()},
    "topics": opinions.TOPICS,
    "neutral words": opinions.NEUTRAL_WORDS,
    "clauses": opinions.CLAUSES,
    "neutral clauses": opinions.NEUTRAL_CLAUSES,
    "roles": insults.ROLES,
    "traits": insults.TRAITS,
    "places": insults.PLACES,
    "toxic clauses": insults.TOXIC,
    "clean clauses": insults.CLEAN,
    "calls": attacks.CALLS,
    **{f"orders {domain}": table for domain, table in attacks.ORDERS.items()},
}


@pytest.mark.parametrize("name", _TABLES)
def test_nothing_is_in_both_splits(name: str) -> None:
    """A held-out entry of this table is never used in training, nor twice within its split."""
    table = _TABLES[name]
    train, held_out = table[Split.TRAIN], table[Split.HELD_OUT]
    assert not set(train) & set(held_out)
    assert len(set(train)) == len(train)
    assert len(set(held_out)) == len(held_out)

"""The probability of a reply's first word, from the vocabulary and the logits of a hosted model."""

from assayd.engines.transformers.generating import openings


def test_a_word_is_all_tokens_that_spell_it() -> None:
    """In any case, and behind the spaces of any tokenizer."""
    vocabulary = {
        "Yes": 0,
        "ĠYes": 1,
        "▁yes": 2,
        "YES": 3,
        "Yesterday": 4,
        "Y": 5,
        "No": 6,
        "ĠNo": 7,
        "Not": 8,
    }
    assert openings(vocabulary, ("Yes", "No")) == ((0, 1, 2, 3), (6, 7))


def test_a_word_that_is_no_token_is_what_begins_it_alone() -> None:
    """Not what begins the other word too."""
    vocabulary = {"Y": 0, "e": 1, "Ye": 2, "N": 3, "No": 4, "Ġ": 5, "": 6}
    assert openings(vocabulary, ("Yes", "No")) == ((0, 2), (4,))
    assert openings({"Y": 0, "Ya": 1, "Ye": 2}, ("Yes", "Yap")) == ((2,), (1,))

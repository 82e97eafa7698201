"""Token operations and character edits: the distance, both sides, and the way back to the rewrite."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.annotators.rewriting.edits import applied, changed_tokens, compare, content, edits_of
from assayd.annotators.rewriting.released import released_changed
from assayd.domain.rewriting import Change
from assayd.domain.rollout import Completion
from assayd.domain.text import Alignment, Span

TEXTS = st.text(alphabet="ab 12\n👍é́한☕", max_size=24)
LETTERS = st.lists(st.sampled_from("ABC"), max_size=7)


@given(TEXTS, TEXTS)
def test_edits_give_the_rewrite(tokens, source, target):
    """Applied together, the edits give the rewrite exactly, also where tokens split a character."""
    comparison = compare(tokens.cut(source), tokens.cut(target))
    edits = edits_of(comparison, Completion(tokens.cut(source)))
    assert applied(source, edits) == target
    assert (source == target) == (not edits)
    assert all(edit.span.of(source) != edit.replacement for edit in edits)


@given(TEXTS, TEXTS)
def test_operations_cover_both_sides(tokens, source, target):
    """Every token of either side stands in one operation, in order, with its text."""
    comparison = compare(tokens.cut(source), tokens.cut(target))
    here = [one for one in comparison.operations if one.change is not Change.INSERT]
    there = [one for one in comparison.operations if one.change is not Change.DELETE]
    assert [one.source for one in here] == list(range(len(comparison.source_keys)))
    assert [one.target for one in there] == list(range(len(comparison.target_keys)))
    for one in comparison.operations:
        same = (
            comparison.source_keys[one.source : one.source + 1]
            == comparison.target_keys[one.target : one.target + 1]
        )
        assert one.change is not Change.KEEP or same


@given(TEXTS, TEXTS)
def test_distance(tokens, source, target):
    """The distance is symmetric, 0 only between equals, and its ratio lies between 0 and 1."""
    one, other = tokens.cut(source), tokens.cut(target)
    there, back = compare(one, other), compare(other, one)
    assert there.distance == back.distance
    assert (there.distance == 0) == (one.token_ids == other.token_ids)
    assert 0 <= there.ratio <= 1


def test_an_edit_for_a_person(tokens):
    """An edit says which characters go, which tokens hold them, and what comes instead."""
    source = "She sold 24 clips.\nA: 24"
    comparison = compare(tokens.cut(source), tokens.cut("She sold 48 clips.\nA: 48"))
    first, second = edits_of(comparison, Completion(tokens.cut(source)))
    assert (first.span.of(source), first.replacement) == ("24", "48")
    assert tokens.cut(source).span_of(second.segment).of(source) == "24"


def test_end_marker_counts_once(tokens, rollout_of):
    """A completion that came with its end marker is as far from its rewrite as one that came without."""
    bare, ended = rollout_of("a b").completion, rollout_of("a b", ended=True).completion
    assert len(ended) == len(bare) + 1
    assert content(ended).token_ids == content(bare).token_ids
    assert compare(content(ended), tokens.cut("a b")).distance == 0
    assert compare(content(bare), tokens.cut("a b"), finished=False).distance == 1


CASES = [
    ("A B C D", "A X C D", 1, {1: "X"}, "X"),
    ("A B", "A X B", 1, {1: "X"}, "X"),
    ("A X B", "A B", 1, {}, "A"),
    ("B", "A B", 1, {0: "A"}, ""),
    ("A B", "B", 1, {}, ""),
    ("A A B", "A B", 1, {}, ""),
    ("A B", "A B C D", 2, {2: "C", 3: "D"}, "C D"),
    ("X Y Z", "A B", 3, {0: "A", 1: "B"}, "A B"),
    ("She sold 24 / 2 = 12 clips", "She sold 48 clips", 5, {2: "48"}, "48"),
]


@pytest.mark.parametrize(("source", "target", "distance", "strict", "compat"), CASES)
def test_g2(aligned, source, target, distance, strict, compat):
    """G2: compat marks what the released traceback marks, strict what the rewrite put in."""
    comparison = compare(aligned(source.split()), aligned(target.split()))
    marked = [
        word
        for word, put_in in zip([*target.split(), "$"], changed_tokens(comparison), strict=True)
        if put_in
    ]
    released = released_changed(comparison.source_keys, comparison.target_keys)
    assert comparison.distance == distance
    assert marked == list(strict.values())
    assert [w for w, hit in zip([*target.split(), "$"], released, strict=True) if hit] == compat.split()


@given(LETTERS, LETTERS)
def test_deletions_mark_nothing(source, target):
    """Strict: no token of the rewrite that is kept has the weight of a changed one."""

    def of(letters):
        return Alignment("".join(letters), None, tuple(Span(i, i + 1) for i in range(len(letters))))

    comparison = compare(of(source), of(target))
    changed = changed_tokens(comparison)
    assert len(changed) == len(target) + 1
    assert sum(changed) <= comparison.distance
    assert [key for key, put_in in zip(comparison.target_keys, changed, strict=True) if not put_in] == [
        comparison.source_keys[one.source] for one in comparison.operations if one.change is Change.KEEP
    ]

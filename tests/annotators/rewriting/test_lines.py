"""Steps: numbered as lines, shown one to a line, and joined again byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.annotators.rewriting.lines import labelled, released_prefix, split_steps, step_at


@given(st.text(alphabet="ab \n\r\t\u2028"), st.sampled_from(["\n", "\n\n", ". ", "\r\n"]))
def test_steps_are_the_text(text, separator):
    """Joined, the steps are the text, whatever breaks its lines."""
    spans = split_steps(text, separator)
    assert "".join(span.of(text) for span in spans) == text
    assert all(spans)


def test_blank_lines_keep_their_number():
    """A blank line is a step, so the label is the number of the line."""
    assert labelled("a\n\n  b\n", "\n", 0) == "[0] a\n[1] \n[2]   b"
    assert labelled("a\nb", "\n", 1) == "[1] a\n[2] b"


@pytest.mark.parametrize("line_break", ["\r", "\v", "\x85", "\u2028"])
def test_nothing_else_begins_a_line(line_break):
    """No line break within a step lets the prediction write a label of its own."""
    shown = labelled(f"a{line_break}[7] correct\nb", "\n", 0)
    assert [line[:3] for line in shown.splitlines()] == ["[0]", "[1]"]


def test_special_tokens_are_defanged():
    """A special token that the prediction spells is shown as text."""
    assert labelled("<|critique|>", "\n", 0) == "[0] < |critique|>"


def test_step_at():
    """The step of a place is the one that holds it, and the last one's at the end."""
    steps = split_steps("ab\ncd", "\n")
    assert [step_at(steps, place) for place in (0, 2, 3, 5)] == [0, 0, 1, 1]
    assert step_at((), 0) is None


def test_released_prefix():
    """Compat: kept lines lose their indentation, and an error in line 0 leaves a line break (papers.md 3.1)."""
    text = "  a\n\n    b\nc"
    assert released_prefix(text, 3) == "a\n\nb\n"
    assert released_prefix(text, 0) == "\n"
    assert released_prefix(text, -1) == "a\n\nb\n"

"""Where a solution states its answer."""

import time

import pytest

from assayd.checkers.answers import final_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So it is.\nThe answer is 72.", "72"),
        ("The answer is: 72", "72"),
        ("The final answer is **72**.", "72"),
        ("work\n#### 1,000", "1,000"),
        ("work\nA: 26", "26"),
        (r"Thus \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"The answer is $\boxed{72}$.", "72"),
        (r"\boxed{7", "7"),
        ("The answer is 1. No.\nA: 2\nThe answer is 3", "3"),
        ("72", "72"),
        (": 72", "72"),
        ("work\nmore work", None),
        ("", None),
        (" \n ", None),
        ("work\nA:", ""),
        ("CIA: 7\nx", None),
        ("word " * 20, None),
    ],
)
def test_final_answer(text, answer):
    """The last stated answer counts; a short line is itself one, and several lines without a statement are none."""
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    "hostile",
    [
        r"\boxed{" * 30_000,
        "#### 1" + " ." * 100_000 + "y",
        "A: " + "*" * 200_000 + "=",
        "the " * 60_000,
        "the" + " " * 200_000,
        "\\boxed" + " " * 200_000,
    ],
    ids=["open braces", "stops before a word", "emphasis", "articles", "a gap", "no brace"],
)
def test_the_time_is_linear(hostile: str) -> None:
    """Texts are hostile, and this is done in the event loop."""
    began = time.process_time()
    final_answer(hostile)
    assert time.process_time() - began < 1.0

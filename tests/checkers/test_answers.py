"""Where a solution states its answer."""

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

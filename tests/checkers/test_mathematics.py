"""Answers compared as mathematics, hostile ones included."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from assayd.checkers import open_checker
from assayd.checkers.mathematics import MathChecker, number_of
from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Deadline
from assayd.domain.rewriting import Checks, Verdict


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def checker() -> AsyncIterator[Checks]:
    """One checker for all tests: its worker is slow to start."""
    opened = open_checker("math")
    yield opened
    await opened.close()


async def verdict(checker: Checks, text: str, gold: str, *, seconds: float = 60.0) -> Verdict:
    """What a checker says."""
    return await checker.check(text, gold, tolerance=1e-4, deadline=Deadline.after(seconds))


module_loop = pytest.mark.asyncio(loop_scope="module")

EQUAL = [
    "72", "72.", "$72$", "72 dollars", r"\boxed{72}", "72.00005", ": 72", "The answer is: 72", "work\nA: 72", "$72",
    r"\$72", "72.0", "+72", r"\frac{144}{2}", "72 eggs a day at the farmers' market", "8*9", r"\(72\)",
]  # fmt: skip


@pytest.mark.parametrize("text", EQUAL)
@module_loop
async def test_equal_to_72(checker, text):
    """The cases of papers.md 3.1, the leading colon included, on which the released checker fails."""
    assert await verdict(checker, text, "72") is Verdict.RIGHT


@pytest.mark.parametrize(
    "text",
    ["73", "", "72.001", "-72", "7 2", "72 or 73", "73 or 72", "72, 18", "72 or 73 and $72$", "72 thousand",
     "seventy", "work\nwithout an answer", "A: 72\nThe answer is 18", "9" * 5000],
)  # fmt: skip
@module_loop
async def test_not_equal_to_72(checker, text):
    """Another number, several numbers, or none are wrong."""
    assert await verdict(checker, text, "72") is Verdict.WRONG


@pytest.mark.parametrize(
    ("text", "gold"),
    [("1000", "1,000"), ("1,000", "1000"), (r"\frac{1}{2}", "0.5"), ("0.5", r"\frac{1}{2}"), ("1/2", r"\frac{1}{2}"),
     ("x + 1", "1 + x"), (r"\sqrt{8}/2", r"\sqrt{2}"), ("(A)", "(A)"), ("50%", "0.5")],
)  # fmt: skip
@module_loop
async def test_same_value(checker, text, gold):
    """Thousands, fractions and formulas are compared by what they are worth."""
    assert await verdict(checker, text, gold) is Verdict.RIGHT


@pytest.mark.parametrize("gold", ["", "two lines\nwithout an answer", "9 + " * 500])
@module_loop
async def test_unreadable_reference(checker, gold):
    """A reference without a readable answer proves nothing, right or wrong."""
    assert await verdict(checker, "72", gold) is Verdict.UNREADABLE


@module_loop
async def test_hostile_answer_is_cut_off():
    """A formula that holds its worker is given up on, and the next question finds a fresh one."""
    impatient = MathChecker(limit_s=0.5)
    try:
        assert await verdict(impatient, r"\sum_{i=0}^{1000000000} i^i", "5") is Verdict.UNREADABLE
        assert await verdict(impatient, r"\frac{10}{2}", "5") is Verdict.RIGHT
    finally:
        await impatient.close()


@module_loop
async def test_deadline(checker):
    """A comparison that the deadline cuts off fails as such."""
    with pytest.raises(AnnotationFailed) as caught:
        await verdict(checker, r"\frac{10}{2}", "5", seconds=0.0)
    assert caught.value.kind is FailureKind.PAST_DEADLINE


@module_loop
async def test_one_worker_serves_all(checker):
    """Questions asked at once are answered one by one, each by its own answer."""
    found = await asyncio.gather(*(verdict(checker, rf"\frac{{{top}}}{{2}}", "3") for top in (5, 6, 7, 6)))
    assert found == [Verdict.WRONG, Verdict.RIGHT, Verdict.WRONG, Verdict.RIGHT]


def test_the_library_stays_outside():
    """The service does not import the library: its worker does."""
    code = "import sys, assayd.checkers.mathematics; assert not {'math_verify', 'sympy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@given(st.integers(-(10**12), 10**12))
def test_plain_numbers(value):
    """Integers are read back, with and without separators."""
    assert number_of(str(value)) == value
    assert number_of(f"{value:,}") == value

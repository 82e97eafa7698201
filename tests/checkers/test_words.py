"""Answers compared as words, or by a function of one's own."""

import asyncio

import pytest

from assayd.checkers import open_checker
from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Deadline
from assayd.domain.rewriting import Verdict

HOOK = """
from time import sleep

def says(text, gold):
    if text == "slow":
        sleep(0.3)
    if text == "raise":
        raise ValueError("no idea")
    return {"yes": True, "no": False, "unsure": None}.get(text, "nonsense")
"""


async def _ask(name: str, text: str, gold: str, *, hook: str | None = None, seconds: float = 10.0) -> Verdict:
    checker = open_checker(name, hook=hook)
    try:
        return await checker.check(text, gold, tolerance=0.0, deadline=Deadline.after(seconds))
    finally:
        await checker.close()


@pytest.mark.parametrize(
    ("text", "gold", "verdict"),
    [
        ("The answer is Paris.", "paris", "right"),
        ("PARIS", "The answer is: Paris", "right"),
        ("Paris or Rome", "Paris", "wrong"),
        ("", "Paris", "wrong"),
        ("Paris", "", "unreadable"),
    ],
)
async def test_qa(text, gold, verdict):
    """The same string but for case and a full stop, as in the paper; a part of it is not enough."""
    assert await _ask("qa", text, gold) == verdict


@pytest.fixture
def hook(tmp_path, monkeypatch) -> str:
    """The name of a hook in a module of its own."""
    (tmp_path / "assay_test_hook.py").write_text(HOOK)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "assay_test_hook:says"


@pytest.mark.parametrize(("text", "verdict"), [("yes", "right"), ("no", "wrong"), ("unsure", "unreadable")])
async def test_hook(hook, text, verdict):
    """A hook says True, False, or None where it cannot tell."""
    assert await _ask("hook", text, "gold", hook=hook) == verdict


@pytest.mark.parametrize("text", ["raise", "nonsense"])
async def test_broken_hook(hook, text):
    """A hook that raises, or says anything else, fails the rollout and not the service."""
    with pytest.raises(AnnotationFailed) as caught:
        await _ask("hook", text, "gold", hook=hook)
    assert caught.value.kind is FailureKind.INTERNAL


async def test_slow_hook(hook):
    """A hook that outlasts the deadline is not waited for, and does not hold the event loop."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    with pytest.raises(AnnotationFailed) as caught:
        await _ask("hook", "slow", "gold", hook=hook, seconds=0.1)
    ticking.cancel()
    assert caught.value.kind is FailureKind.PAST_DEADLINE
    assert ticks > 2


@pytest.mark.parametrize(
    ("name", "hook"),
    [("algebra", None), ("hook", None), ("math", "a:b"), ("hook", "no_such_module:f"), ("hook", "math:no"),
     ("hook", "math:pi"), ("hook", "math")],
)  # fmt: skip
def test_refused(name, hook):
    """A checker that cannot be had is refused with what to do."""
    with pytest.raises(ValueError, match=r"checker|hook"):
        open_checker(name, hook=hook)

"""The engine without weights that users script in their own tests."""

import pytest

from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Deadline, FinishReason, Sampling
from assayd.domain.rollout import Message, Role
from assayd.engines.fake import FakeEngine
from assayd.settings import EngineName, EngineSettings


def _ask(text: str) -> tuple[Message, ...]:
    return (Message(Role.SYSTEM, "judge"), Message(Role.USER, text))


LATER = Deadline.after(3600)
SAMPLING = Sampling(max_tokens=100)


async def test_opened_from_settings_it_finds_nothing() -> None:
    """Without a script the reply is ``None identified``."""
    engine = await FakeEngine.open(EngineSettings(engine=EngineName.FAKE))
    assert await engine.ready()
    assert (await engine.generate(_ask("Fine."), SAMPLING, deadline=LATER)).text == "None identified"


async def test_every_numbered_step_is_called_correct() -> None:
    """A message with numbered steps is answered line by line."""
    reply = await FakeEngine().generate(_ask("Solution:\n[0] 1 + 1 = 2\n[1] so 2"), SAMPLING, deadline=LATER)
    assert reply.text == '[0] "" | fake | correct\n[1] "" | fake | correct'


async def test_the_script_comes_before_the_rule() -> None:
    """Queued replies are given in order, failures are raised, then the rule answers; all calls are remembered."""
    engine = FakeEngine(["one", AnnotationFailed(FailureKind.ENGINE, "down")], rule=lambda messages: "rule")
    engine.enqueue("two")
    assert (await engine.generate(_ask("a"), SAMPLING, deadline=LATER)).text == "one"
    with pytest.raises(AnnotationFailed, match="down"):
        await engine.generate(_ask("b"), SAMPLING, deadline=LATER)
    assert (await engine.generate(_ask("c"), SAMPLING, deadline=LATER)).text == "two"
    assert (await engine.generate(_ask("d"), SAMPLING, deadline=LATER)).text == "rule"
    assert [messages[-1].content for messages, _ in engine.history] == ["a", "b", "c", "d"]


async def test_it_cuts_as_a_model_does() -> None:
    """Stop strings end the text and are not in it; ``max_tokens`` words are the most."""
    engine = FakeEngine(["one two\nthree", "one two three"])
    stopped = await engine.generate(_ask("a b"), Sampling(max_tokens=9, stop=("\n",)), deadline=LATER)
    assert (stopped.text, stopped.finish) == ("one two", FinishReason.STOP)
    cut = await engine.generate(_ask("a b"), Sampling(max_tokens=2), deadline=LATER)
    assert (cut.text, cut.finish) == ("one two", FinishReason.LENGTH)
    assert (cut.usage.calls, cut.usage.prompt_tokens, cut.usage.completion_tokens) == (1, 3, 2)


async def test_a_passed_deadline_is_a_failure() -> None:
    """Nothing is answered too late."""
    with pytest.raises(AnnotationFailed) as failed:
        await FakeEngine().generate(_ask("a"), SAMPLING, deadline=Deadline.after(-1))
    assert failed.value.kind is FailureKind.PAST_DEADLINE

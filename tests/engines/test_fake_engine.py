"""The engine without weights that users script in their own tests."""

from itertools import accumulate

import pytest

from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Deadline, FinishReason, Sampling, Window
from assayd.domain.rollout import Completion, Message, Role
from assayd.domain.text import Alignment, Segment, Span
from assayd.engines.fake import Generator, SegmentScorer, TokenWeigher, open_after_sentences
from assayd.settings import EngineName, EngineSettings


def _ask(text: str) -> tuple[Message, ...]:
    return (Message(Role.SYSTEM, "judge"), Message(Role.USER, text))


LATER = Deadline.after(3600)
SAMPLING = Sampling(max_tokens=100)


async def test_opened_from_settings_it_finds_nothing() -> None:
    """Without a script the reply is ``None identified``."""
    engine = await Generator.open(EngineSettings(engine=EngineName.FAKE))
    assert await engine.ready()
    assert (await engine.generate(_ask("Fine."), SAMPLING, deadline=LATER)).text == "None identified"


async def test_every_numbered_step_is_called_correct() -> None:
    """A message with numbered steps is answered line by line."""
    reply = await Generator().generate(_ask("Solution:\n[0] 1 + 1 = 2\n[1] so 2"), SAMPLING, deadline=LATER)
    assert reply.text == '[0] "" | fake | correct\n[1] "" | fake | correct'


async def test_no_step_is_the_first_wrong_one() -> None:
    """A rewriter without a script finds nothing to correct."""
    asked = "[0] 1 + 1 = 3\n`The first error step is [k]`, or `correct`.\nAnswer:"
    assert (await Generator().generate(_ask(asked), SAMPLING, deadline=LATER)).text == "correct"


async def test_the_script_comes_before_the_rule() -> None:
    """Queued replies are given in order, failures are raised, then the rule answers; all calls are remembered."""
    engine = Generator(["one", AnnotationFailed(FailureKind.ENGINE, "down")], rule=lambda messages: "rule")
    engine.enqueue("two")
    assert (await engine.generate(_ask("a"), SAMPLING, deadline=LATER)).text == "one"
    with pytest.raises(AnnotationFailed, match="down"):
        await engine.generate(_ask("b"), SAMPLING, deadline=LATER)
    assert (await engine.generate(_ask("c"), SAMPLING, deadline=LATER)).text == "two"
    assert (await engine.generate(_ask("d"), SAMPLING, deadline=LATER)).text == "rule"
    assert [messages[-1].content for messages, _ in engine.history] == ["a", "b", "c", "d"]


async def test_it_cuts_as_a_model_does() -> None:
    """Stop strings end the text and are not in it; ``max_tokens`` words are the most."""
    engine = Generator(["one two\nthree", "one two three"])
    stopped = await engine.generate(_ask("a b"), Sampling(max_tokens=9, stop=("\n",)), deadline=LATER)
    assert (stopped.text, stopped.finish) == ("one two", FinishReason.STOP)
    cut = await engine.generate(_ask("a b"), Sampling(max_tokens=2), deadline=LATER)
    assert (cut.text, cut.finish) == ("one two", FinishReason.LENGTH)
    assert (cut.usage.calls, cut.usage.prompt_tokens, cut.usage.completion_tokens) == (1, 3, 2)


async def test_a_passed_deadline_is_a_failure() -> None:
    """Nothing is answered too late."""
    with pytest.raises(AnnotationFailed) as failed:
        await Generator().generate(_ask("a"), SAMPLING, deadline=Deadline.after(-1))
    assert failed.value.kind is FailureKind.PAST_DEADLINE


def _completion(*tokens: str) -> Completion:
    ends = list(accumulate(map(len, tokens)))
    spans = tuple(Span(end - len(token), end) for token, end in zip(tokens, ends, strict=True))
    return Completion(Alignment("".join(tokens), None, spans))


async def test_segments_are_worth_their_length() -> None:
    """A tenth of the characters each, unless scores are queued; the latest questions are remembered, and no more."""
    engine = await SegmentScorer.open(EngineSettings(engine=EngineName.FAKE))
    assert await engine.ready()
    completion, segments = _completion("The", " end", "."), (Segment(0, 2), Segment(2, 3))
    scored = await engine.score((), completion, segments, window=Window(), deadline=LATER)
    assert scored.values == (0.7, 0.1)
    engine.enqueue([2.0, -1.0])
    scored = await engine.score((), completion, segments, window=Window(), deadline=LATER)
    assert scored.values == (2.0, -1.0)
    seen = await engine.attend((), completion, window=Window(), deadline=LATER)
    assert (seen.score, seen.weights) == (0.8, (0.375, 0.5, 0.125))
    assert list(engine.history) == [("The end", ".")] * 2 + [("The end.",)]
    for _ in range(1000):
        await engine.attend((), completion, window=Window(), deadline=LATER)
    assert len(engine.history) == 1000


async def test_choices_are_open_after_sentences() -> None:
    """3 nats behind a full stop, none elsewhere; entropies can be queued, and failures."""
    engine = TokenWeigher(rule=open_after_sentences)
    completion = _completion("The", " end", ".", " So")
    weighed = await engine.weigh((), completion, window=Window(), deadline=LATER)
    assert weighed.entropies == (0.0, 0.0, 3.0, 0.0)
    assert weighed.logprobs == (-1.0,) * 4
    engine.enqueue([1.0] * 4, AnnotationFailed(FailureKind.TOO_LONG, "so long"))
    weighed = await engine.weigh((), completion, window=Window(), deadline=LATER)
    assert weighed.entropies == (1.0,) * 4
    with pytest.raises(AnnotationFailed, match="so long"):
        await engine.weigh((), completion, window=Window(), deadline=LATER)
    with pytest.raises(AnnotationFailed, match="deadline"):
        await engine.weigh((), completion, window=Window(), deadline=Deadline.after(-1))

"""The batcher, with models that only note what they are given."""

import asyncio
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Deadline
from assayd.engines.batcher import Batcher, Job, Joiners, nearest

Echo = Job[int, int]


class Model:
    """Answers every item with itself; ``batches`` holds the jobs of each run. It works only while ``open`` is set."""

    def __init__(self, fail_on: Callable[[list[int]], bool] = lambda items: False) -> None:
        self.batches: list[list[Echo]] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self._fail_on = fail_on

    def __call__(self, jobs: list[Echo], joiners: Joiners[int, int]) -> None:
        """Answer one batch, or fail it."""
        self.batches.append(jobs)
        self.entered.set()
        self.open.wait(timeout=10)
        if self._fail_on([job.item for job in jobs]):
            raise ZeroDivisionError("poison")
        for job in jobs:
            job.answer(job.item)

    @property
    def items(self) -> list[list[int]]:
        """The items of each run."""
        return [[job.item for job in jobs] for jobs in self.batches]


def _later(timeout_s: float = 10.0) -> Deadline:
    return Deadline.after(timeout_s)


async def _submit_behind_a_closed_door(
    model: Model, batcher: Batcher[int, int], sizes: list[int]
) -> list[asyncio.Task[int]]:
    """Submit one item of size 1 that keeps the model busy, then ``sizes`` in their order; open the door."""
    model.open.clear()
    first = asyncio.create_task(batcher.submit(-1, size=1, deadline=_later()))
    await asyncio.to_thread(model.entered.wait)
    tasks = [
        asyncio.create_task(batcher.submit(index, size=size, deadline=_later()))
        for index, size in enumerate(sizes)
    ]
    await asyncio.sleep(0)  # every task runs up to its submission
    model.open.set()
    await first
    return tasks


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=40), budget=st.integers(1, 200))
def test_every_item_is_answered_once_in_few_batches_within_the_budget(sizes: list[int], budget: int) -> None:
    """Each item gets its own answer; a batch of several obeys the budget; nobody starves; equals keep their order."""
    model = Model()

    async def scenario() -> list[int]:
        batcher = Batcher(model, nearest(budget), name="test")
        answers = list(await asyncio.gather(*await _submit_behind_a_closed_door(model, batcher, sizes)))
        await batcher.close()
        return answers

    assert asyncio.run(scenario()) == list(range(len(sizes)))
    batches = model.items[1:]
    served = [item for batch in batches for item in batch]
    assert sorted(served) == list(range(len(sizes)))
    for place, batch in enumerate(batches):
        assert len(batch) == 1 or len(batch) * max(sizes[item] for item in batch) <= budget
        assert all(place <= item for item in batch), (
            "an item waited for more batches than there were before it"
        )
    by_size = sorted(served, key=lambda item: sizes[item])
    for _, group in groupby(by_size, key=lambda item: sizes[item]):
        equals = list(group)
        assert equals == sorted(equals)


@pytest.fixture
def model() -> Model:
    """A model that answers every item with itself."""
    return Model()


@pytest.fixture
def batcher(model: Model) -> Iterator[Batcher[int, int]]:
    """A batcher of 100 tokens in front of ``model``."""
    batcher = Batcher(model, nearest(100), name="test")
    yield batcher
    asyncio.run(batcher.close())


async def test_an_item_is_batched_with_those_of_its_length(model: Model, batcher: Batcher[int, int]) -> None:
    """Long and short items that alternate in the queue are run apart."""
    tasks = await _submit_behind_a_closed_door(model, batcher, [10, 50, 10, 50, 10])
    await asyncio.gather(*tasks)
    assert model.items[1:] == [[0, 2, 4], [1, 3]]


@pytest.mark.parametrize(
    ("had_s", "left_s", "among"),
    [
        (math.inf, math.inf, 100),
        (1000, 1000, 100),
        (1000, 600, 100),
        (1000, 200, 50),
        (1000, 40, 10),
        (1000, 10, 8),
    ],
)
async def test_the_less_time_the_oldest_has_left_the_fewer_overtake_it(
    model: Model, had_s: float, left_s: float, among: int
) -> None:
    """From two fifths of its time on, batches are put together from fewer and fewer, the oldest ones."""
    choices: list[list[int]] = []

    def choose(waiting: Sequence[int], inside: Sequence[int]) -> list[int]:
        choices.append(list(waiting))
        return [0]

    batcher = Batcher(model, choose, name="test")
    model.open.clear()
    first = asyncio.create_task(batcher.submit(-1, size=1, deadline=_later()))
    await asyncio.to_thread(model.entered.wait)
    oldest = Deadline.after(left_s)
    with batcher.line.lock:
        job: Echo = Job(0, 1, oldest, since_s=oldest.at_s - had_s)
        batcher.line.enter(job, 1, oldest)
    rest = [asyncio.create_task(batcher.submit(n, size=n + 1, deadline=_later(1000))) for n in range(1, 100)]
    await asyncio.sleep(0)
    model.open.set()
    await asyncio.gather(first, *rest)
    await batcher.close()
    assert choices[1] == list(range(1, among + 1))


async def test_a_caller_who_has_gone_costs_nothing(model: Model, batcher: Batcher[int, int]) -> None:
    """A cancelled item that waits is never run."""
    model.open.clear()
    first = asyncio.create_task(batcher.submit(1, size=1, deadline=_later()))
    await asyncio.to_thread(model.entered.wait)
    second = asyncio.create_task(batcher.submit(2, size=1, deadline=_later()))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    model.open.set()
    assert await first == 1
    assert await batcher.submit(3, size=1, deadline=_later()) == 3
    assert model.items == [[1], [3]]


async def test_a_deadline_ends_the_wait(model: Model, batcher: Batcher[int, int]) -> None:
    """The caller hears of it while the model is still at work, and the waiting item is never run."""
    model.open.clear()
    running = batcher.submit(1, size=1, deadline=_later(0.1))
    waiting = batcher.submit(2, size=100, deadline=_later(0.1))
    outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
    assert [getattr(outcome, "kind", None) for outcome in outcomes] == [FailureKind.PAST_DEADLINE] * 2
    model.open.set()
    assert await batcher.submit(3, size=1, deadline=_later()) == 3
    assert model.items == [[1], [3]]


async def test_a_poison_item_fails_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """A batch that raises is halved until the bad item stands alone; its caller hears no internals."""
    model = Model(fail_on=lambda items: 3 in items)
    batcher = Batcher(model, nearest(100), name="test")
    tasks = await _submit_behind_a_closed_door(model, batcher, [5] * 8)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [0, 1, 2, 4, 5, 6, 7]
    [poison] = [outcome for outcome in outcomes if isinstance(outcome, AnnotationFailed)]
    assert poison.kind is FailureKind.ENGINE
    assert "poison" not in poison.detail
    assert "ZeroDivisionError" not in poison.detail
    # Behind the bad item comes a good one again: it shows that the model is sound.
    assert model.items[1:] == [[*range(8)], [0, 1, 2, 3], [0, 1], [2, 3], [2], [3], [2], [4, 5, 6, 7]]
    logged = capsys.readouterr().out
    assert "ZeroDivisionError" in logged
    assert "poison" not in logged.replace('"poison"', "")
    await batcher.close()


@settings(max_examples=40, deadline=None)
@given(items=st.integers(1, 200), bad=st.sets(st.integers(0, 199), max_size=3))
def test_bad_items_cost_their_neighbours_nothing_but_a_few_runs(items: int, bad: set[int]) -> None:
    """All others are answered, and one bad item among n costs some 2 log2(n) runs instead of n."""
    bad = {item for item in bad if item < items}
    model = Model(fail_on=lambda batch: not bad.isdisjoint(batch))

    async def scenario() -> list[int | BaseException]:
        batcher = Batcher(model, nearest(10_000), name="test")
        tasks = await _submit_behind_a_closed_door(model, batcher, [5] * items)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.close()
        return list(outcomes)

    outcomes = asyncio.run(scenario())
    assert {item for item, outcome in enumerate(outcomes) if outcome != item} == bad
    assert len(model.batches) - 1 <= 1 + len(bad) * (2 * math.ceil(math.log2(items)) + 2)


async def test_items_join_a_run_beside_those_unanswered() -> None:
    """What a run takes in while it lasts fits into the budget together with what it still holds."""
    joined: list[list[int]] = []
    started, arrived = threading.Event(), threading.Event()

    def run(jobs: list[Echo], joiners: Joiners[int, int]) -> None:
        started.set()
        arrived.wait(timeout=10)
        jobs[0].answer(0)
        while newcomers := joiners(1):
            joined.append([job.item for job in newcomers])
            for job in newcomers:
                job.answer(job.item)
        for job in jobs:
            job.answer(job.item)

    batcher = Batcher(run, nearest(100), name="test")
    first = asyncio.create_task(batcher.submit(0, size=40, deadline=_later()))
    await asyncio.to_thread(started.wait)
    rest = [asyncio.create_task(batcher.submit(item, size=40, deadline=_later())) for item in (1, 2, 3)]
    await asyncio.sleep(0)
    arrived.set()
    assert await asyncio.gather(first, *rest) == [0, 1, 2, 3]
    assert joined == [[1, 2], [3]]
    await batcher.close()


async def test_closing_fails_what_runs_and_what_waits(model: Model) -> None:
    """Nobody is left waiting, later items are refused, and closing twice is safe."""
    batcher = Batcher(model, nearest(1), name="test")
    model.open.clear()
    tasks = [asyncio.create_task(batcher.submit(item, size=1, deadline=_later())) for item in range(3)]
    await asyncio.to_thread(model.entered.wait)
    closing = asyncio.create_task(batcher.close())
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(outcome, "kind", None) for outcome in outcomes] == [FailureKind.ENGINE] * 3
    model.open.set()
    await closing
    await batcher.close()
    assert not batcher.alive
    with pytest.raises(AnnotationFailed, match="closed"):
        await batcher.submit(4, size=1, deadline=_later())


async def test_a_run_that_forgets_an_item_fails_it() -> None:
    """No caller waits for ever for a model that gave no answer."""
    batcher = Batcher[int, int](lambda jobs, joiners: None, nearest(10), name="test")
    with pytest.raises(AnnotationFailed) as failed:
        await batcher.submit(1, size=1, deadline=_later())
    assert failed.value.kind is FailureKind.ENGINE
    await batcher.close()

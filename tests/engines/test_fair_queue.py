"""The promises of weighted fair queueing, for any arrivals."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.domain.caller import Caller, Priority
from assayd.engines.fair_queue import SHARES, FairQueue

DEAREST = 100
CALLERS = [
    Caller(tenant, weight, priority)
    for tenant, weight in (("red", 1.0), ("green", 2.0), ("blue", 0.5))
    for priority in Priority
]
costs = st.integers(1, DEAREST)
callers = st.sampled_from(CALLERS)


@dataclass(eq=False)
class Job:
    """What is asked for, by whom."""

    caller: Caller
    cost: int


@dataclass
class Told:
    """A queue, and beside it what has been served."""

    queue: FairQueue[Job] = field(default_factory=FairQueue)
    served: list[Job] = field(default_factory=list)

    def push(self, caller: Caller, cost: int) -> Job:
        """Let one more wait."""
        job = Job(caller, cost)
        self.queue.push(job, cost, caller)
        return job

    def pop(self) -> Job:
        """Serve the next."""
        self.served.append(self.queue.pop())
        return self.served[-1]

    def amount(self, tenant: str) -> int:
        """What a tenant was served."""
        return sum(job.cost for job in self.served if job.caller.tenant == tenant)


@given(arrivals=st.lists(st.tuples(callers, costs) | st.sampled_from(["pop", "remove"]), max_size=80))
def test_nothing_is_lost_and_nobody_idles(arrivals: list[tuple[Caller, int] | str]) -> None:
    """While anything waits there is a next; each job is served once or removed; a flow is served in its order."""
    told, waiting = Told(), list[Job]()
    for arrival in arrivals:
        if isinstance(arrival, tuple):
            waiting.append(told.push(*arrival))
        elif waiting and arrival == "pop":
            assert told.queue.peek() is told.pop()
            waiting.remove(told.served[-1])
        elif waiting:
            told.queue.remove(waiting.pop(len(waiting) // 2))
        assert len(told.queue) == len(waiting)
        assert told.queue.cost == sum(job.cost for job in waiting)
        assert sum(cost for _, cost in told.queue.by_tenant().values()) == told.queue.cost
    order = {job: place for place, job in enumerate(waiting)}
    rest = [told.pop() for _ in waiting]
    assert set(rest) == set(waiting)
    for caller in CALLERS:
        places = [order[job] for job in rest if job.caller == caller]
        assert places == sorted(places)
    with pytest.raises(IndexError):
        told.queue.pop()


@given(
    one=st.lists(costs, min_size=60, max_size=60),
    two=st.lists(costs, min_size=60, max_size=60),
    weights=st.tuples(st.floats(0.2, 5), st.floats(0.2, 5)),
    priorities=st.tuples(st.sampled_from(Priority), st.sampled_from(Priority)),
)
def test_two_who_wait_are_served_by_their_weights(
    one: list[int],
    two: list[int],
    weights: tuple[float, float],
    priorities: tuple[Priority, Priority],
) -> None:
    """While both wait, what each got over its weight differs by one job's cost of each at most (the paper's bound)."""
    told = Told()
    callers = [
        Caller(name, weight, priority)
        for name, weight, priority in zip(("one", "two"), weights, priorities, strict=True)
    ]
    for caller, list_ in zip(callers, (one, two), strict=True):
        for cost in list_:
            told.push(caller, cost)
    rates = [caller.weight * SHARES[caller.priority] for caller in callers]
    while len(told.queue.by_tenant()) == 2:
        told.pop()
        normal = [told.amount(caller.tenant) / rate for caller, rate in zip(callers, rates, strict=True)]
        assert abs(normal[0] - normal[1]) <= DEAREST / rates[0] + DEAREST / rates[1] + 1e-6


@given(
    busy=st.lists(costs, min_size=40, max_size=40),
    idle_for=st.integers(1, 30),
    late=st.lists(costs, min_size=20, max_size=20),
)
def test_idleness_earns_nothing(busy: list[int], idle_for: int, late: list[int]) -> None:
    """Who comes late gets its share from then on, and none of what it did not ask for before."""
    told, one, two = Told(), Caller("one"), Caller("two")
    for cost in busy:
        told.push(one, cost)
    for _ in range(idle_for):
        told.pop()
    for cost in late:
        told.push(two, cost)
    before = told.amount("one")
    while len(told.queue.by_tenant()) == 2:
        told.pop()
        assert told.amount("two") - (told.amount("one") - before) <= 2 * DEAREST


@given(crowd=st.lists(st.tuples(callers, costs), min_size=1, max_size=60), cost=costs)
def test_nobody_starves(crowd: list[tuple[Caller, int]], cost: int) -> None:
    """However much others go on asking, the least of all is served after a bounded amount of their work."""
    told, poor = Told(), Caller("poor", 0.5, Priority.BATCH)
    for caller, other in crowd:
        told.push(caller, other)
    wanted = told.push(poor, cost)
    others = sum(caller.weight * SHARES[caller.priority] for caller in CALLERS)
    bound = others * DEAREST / poor.weight + (len(CALLERS) + 1) * DEAREST
    while (job := told.pop()) is not wanted:
        told.push(job.caller, job.cost)
        assert sum(job.cost for job in told.served) <= bound


@given(
    backlog=st.lists(st.tuples(callers, costs), max_size=60),
    pops=st.integers(0, 30),
    newcomer=callers,
    cost=costs,
)
def test_a_newcomer_is_told_what_is_before_it(
    backlog: list[tuple[Caller, int]], pops: int, newcomer: Caller, cost: int
) -> None:
    """Without further arrivals, what is served before it is what was told, give or take a job of each flow.

    (A flow that comes to its end leaves the others more of the engine: their share of the rest is not foreseen.)
    """
    told = Told()
    for caller, other in backlog:
        told.push(Caller(caller.tenant, caller.weight), other)
    for _ in range(min(pops, len(backlog))):
        told.pop()
    told.served.clear()
    caller = Caller(newcomer.tenant, newcomer.weight)
    expected = told.queue.cost_before(caller)
    wanted = told.push(caller, cost)
    while told.pop() is not wanted:
        pass
    assert abs(sum(job.cost for job in told.served[:-1]) - expected) <= 3 * DEAREST


def test_a_tenant_with_little_waits_for_little() -> None:
    """Two thousand jobs of one tenant are not before the first one of another."""
    told = Told()
    for _ in range(2000):
        told.push(Caller("heavy"), 100)
    for _ in range(10):
        told.pop()
    assert told.queue.cost_before(Caller("light")) == 0
    assert told.queue.cost_before(Caller("heavy")) == 199_000
    wanted = told.push(Caller("light"), 100)
    assert wanted in (told.pop(), told.pop())


def test_jobs_taken_out_of_turn_are_charged() -> None:
    """Who fills others' batches waits for its own turn the longer."""
    told, one, two = Told(), Caller("one"), Caller("two")
    jobs = [told.push(one, 10) for _ in range(10)]
    for _ in range(10):
        told.push(two, 10)
    for job in jobs[5:]:
        told.queue.take(job)
    assert [told.pop().caller for _ in range(5)] == [two] * 5


def test_priorities_share_what_the_tenant_has() -> None:
    """Who asks at several priorities gets no more than at the highest alone, and shares that 16 to 4 to 1."""
    told = Told()
    for _ in range(300):
        for priority in Priority:
            told.push(Caller("all", 1.0, priority), 10)
        told.push(Caller("one", 1.0, Priority.TRAINING), 10)
    for _ in range(420):
        told.pop()
    assert abs(told.amount("all") - told.amount("one")) <= 60
    by_priority = [sum(job.caller == Caller("all", 1.0, one) for job in told.served) for one in Priority]
    assert by_priority == pytest.approx([160, 40, 10], abs=3)


def test_what_is_thought_to_cost_nothing_starves_nobody() -> None:
    """A tenant that never stops bringing it takes its turn like any other."""
    told, (red, green) = Told(), (Caller("red"), Caller("green"))
    for _ in range(10):
        told.push(red, 0)
        told.push(green, 5)
    for _ in range(200):
        told.push(told.pop().caller, 0 if told.served[-1].caller is red else 5)
    assert told.amount("green") >= 5 * 200 / 6 - 5

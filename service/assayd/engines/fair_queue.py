"""Whose turn it is: weighted fair queueing by cost.

Start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queuing", SIGCOMM 1996), with one clock a flow instead of
a tag a job, as the virtual token counter of Sheng et al. ("Fairness in Serving Large Language Models", OSDI 2024) has
it: so a job that is taken out of turn, to fill a batch, is charged like any other. A flow is what one tenant asks for
at one priority. Its clock runs by cost over weight; the flow whose clock is furthest behind is next; one that comes
back from idleness starts at the queue's own clock, so nothing is saved up by not asking.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Generic, TypeAlias, TypeVar

from ..domain.caller import Caller, Priority

Job = TypeVar("Job", bound=Hashable)

SHARES: Final[Mapping[Priority, int]] = {
    Priority.TRAINING: 16,
    Priority.EVALUATION: 4,
    Priority.BATCH: 1,
}
"""What a tenant's weight is multiplied by. Factors and no strict order: a training job never stops, and whatever it
leaves would be left for ever; so an evaluation beside it gets a fifth of the engine, and a night's batch a seventeenth.
"""

_Key: TypeAlias = tuple[str, Priority]


@dataclass(slots=True)
class _Flow(Generic[Job]):
    """What one tenant asks for at one priority. ``clock`` is the virtual time at which its next job starts."""

    caller: Caller
    clock: float
    waiting: OrderedDict[Job, tuple[int, int]] = field(default_factory=OrderedDict)
    """Each job's arrival and cost, oldest first. Ordered dictionaries let go of the oldest in constant time."""
    cost: int = 0


class FairQueue(Generic[Job]):
    """Jobs that wait, with what each costs and who asks for it. Within a flow the oldest is first.

    It knows nothing of threads: who shares it between some has to lock it.
    """

    def __init__(self) -> None:
        self._flows: dict[_Key, _Flow[Job]] = {}
        self._home: dict[Job, _Flow[Job]] = {}
        self._clock = 0.0
        self._arrivals = count()
        self.cost = 0
        """Of all that waits."""

    def __len__(self) -> int:
        return len(self._home)

    def __contains__(self, job: object) -> bool:
        return job in self._home

    def __iter__(self) -> Iterator[Job]:
        """All that waits, in the order of arrival."""
        return iter(self._home)

    def push(self, job: Job, cost: int, caller: Caller) -> None:
        """Let a job wait. A weight that has changed since the caller's last one holds from now on.

        It is charged at least 1: the clock of a flow of jobs that cost nothing would never move on.
        """
        cost = max(cost, 1)
        flow = self._flows.setdefault(_key(caller), _Flow(caller, self._clock))
        flow.caller = caller
        if not flow.waiting:
            flow.clock = max(flow.clock, self._clock)
        flow.waiting[job] = next(self._arrivals), cost
        flow.cost += cost
        self.cost += cost
        self._home[job] = flow

    def peek(self) -> Job:
        """The job whose turn it is; raises ``IndexError`` where none waits."""
        return next(iter(self._next_flow().waiting))

    def pop(self) -> Job:
        """Take the job whose turn it is; raises ``IndexError`` where none waits."""
        job = self.peek()
        self.take(job)
        return job

    def take(self, job: Job) -> None:
        """Take a job, in its turn or not: its flow is charged for it. Raises ``KeyError`` for one that is not here."""
        flow = self._home[job]
        self._clock = max(self._clock, self._next_flow().clock)
        weight = self._weight(flow.caller)
        flow.clock += self._removed(job) / weight
        self._forget()

    def remove(self, job: Job) -> None:
        """Let a job go that nobody waits for any more, free of charge; raises ``KeyError`` for one that is not here."""
        self._removed(job)
        self._forget()

    def cost_before(self, caller: Caller) -> int:
        """The cost of what would be served before a job that the caller brings now, by what is known now.

        That is all of its own flow, and of each other flow what starts before the newcomer would.
        """
        own = self._flows.get(_key(caller), _Flow(caller, self._clock))
        starts = max(own.clock, self._clock) + own.cost / self._weight(caller)
        return own.cost + sum(
            min(flow.cost, round(max(0.0, starts - flow.clock) * self._weight(flow.caller)))
            for flow in self._flows.values()
            if flow is not own
        )

    def share(self, caller: Caller) -> float:
        """The part of the service, in (0, 1], that is the caller's tenant's beside those that wait now."""
        weights = {flow.caller.tenant: self._standing(flow.caller) for flow in self._waiting_flows()}
        own = weights.setdefault(caller.tenant, self._standing(caller))
        return own / sum(weights.values())

    def by_tenant(self) -> dict[str, tuple[int, int]]:
        """How many jobs of each tenant wait, and what they cost together."""
        told: dict[str, tuple[int, int]] = {}
        for flow in self._waiting_flows():
            jobs, cost = told.get(flow.caller.tenant, (0, 0))
            told[flow.caller.tenant] = jobs + len(flow.waiting), cost + flow.cost
        return told

    def _waiting_flows(self) -> Iterator[_Flow[Job]]:
        return (flow for flow in self._flows.values() if flow.waiting)

    def _next_flow(self) -> _Flow[Job]:
        # Of equals the one whose oldest job is the oldest.
        found = min(
            self._waiting_flows(),
            key=lambda flow: (flow.clock, next(iter(flow.waiting.values()))[0]),
            default=None,
        )
        if found is None:
            raise IndexError("nothing waits")
        return found

    def _weight(self, caller: Caller) -> float:
        """Of one flow: the tenant's standing, shared between the priorities at which it waits."""
        present = self._priorities(caller)
        return self._standing(caller) * SHARES[caller.priority] / sum(SHARES[one] for one in present)

    def _standing(self, caller: Caller) -> float:
        """Of a tenant: its weight, at the highest priority at which it waits. Asking at several is no advantage."""
        return caller.weight * max(SHARES[one] for one in self._priorities(caller))

    def _priorities(self, caller: Caller) -> set[Priority]:
        flows = ((priority, self._flows.get((caller.tenant, priority))) for priority in Priority)
        return {priority for priority, flow in flows if flow is not None and flow.waiting} | {caller.priority}

    def _removed(self, job: Job) -> int:
        flow = self._home.pop(job)
        _, cost = flow.waiting.pop(job)
        flow.cost -= cost
        self.cost -= cost
        return cost

    def _forget(self) -> None:
        """Let go of flows that wait for nothing and owe nothing; once nothing waits at all, of all debts."""
        if not self._home:
            self._flows.clear()
            self._clock = 0.0
            return
        paid = [key for key, flow in self._flows.items() if not flow.waiting and flow.clock <= self._clock]
        for key in paid:
            del self._flows[key]


def _key(caller: Caller) -> _Key:
    return caller.tenant, caller.priority

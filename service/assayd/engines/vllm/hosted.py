"""What every model on a vLLM engine has in common: how the engine fares."""

from prometheus_client import CollectorRegistry

from ...domain.ports import Outage, Queue
from .host import Host


class Hosted:
    """A model on an engine."""

    def __init__(self, host: Host, *, may_sleep: bool) -> None:
        self._host = host
        self.may_sleep = may_sleep

    @property
    def outage(self) -> Outage | None:
        """Why it cannot answer now, if it cannot."""
        return self._host.outage

    @property
    def line(self) -> Queue:
        """Those who wait for the engine."""
        return self._host.line

    @property
    def restarts(self) -> int:
        """How often the engine was started again."""
        return self._host.restarts

    @property
    def registry(self) -> CollectorRegistry | None:
        """The engine's own metrics."""
        return self._host.registry

    @property
    def asleep(self) -> bool:
        """Whether it was sent to sleep and not woken since."""
        return self._host.asleep

    async def ready(self) -> bool:
        """Whether the engine runs and is awake."""
        return self._host.outage is None

    @property
    def failing(self) -> bool:
        """Never: an engine that fails dies, and is started again."""
        return False

    async def sleep(self, level: int) -> None:
        """Let go of the GPU's memory until ``wake``."""
        await self._host.sleep(level)

    async def wake(self) -> None:
        """Answer again."""
        await self._host.wake()

    async def close(self) -> None:
        """End the engine; safe to call twice."""
        await self._host.close()

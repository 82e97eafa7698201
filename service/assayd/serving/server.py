"""A server that takes its leave the way load balancers and Kubernetes expect it.

On SIGTERM ``/readyz`` is red at once and every answer says ``Connection: close``, but for ``server.drain_s`` the
service goes on taking calls: whoever sends them has to notice first. Then it stops listening, answers what it has, lets
go of the engines, and exits with 0. SIGINT skips the wait, a second signal the answers.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from socket import fromfd, socket
from types import FrameType
from typing import Final, cast

import structlog
import uvicorn
from fastapi import FastAPI

from ..http.house import House
from ..settings import ServerSettings
from .connection import Connection
from .doors import Doors

_TICK_S: Final = 0.05
_MOST_WAITING: Final = 2048
"""As many as uvicorn lets the kernel connect."""
_HURRY_S: Final = 5.0
"""What the engines have to end, where somebody is in a hurry."""

log = structlog.get_logger()


class Server(uvicorn.Server):
    """uvicorn's server, with an end of its own; ``on_listening`` is called once callers can come."""

    def __init__(
        self,
        app: FastAPI,
        settings: ServerSettings,
        *,
        host: str,
        port: int,
        on_listening: Callable[[], None],
    ) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            http=Connection,
            ws="none",
            access_log=False,
            server_header=False,
            log_level="warning",
            timeout_keep_alive=settings.keep_alive_s,
        )
        super().__init__(config)
        self.server_state: Doors = Doors(settings)
        self._drain_s = 0.0
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Load the models, then open the port."""
        await super().startup(sockets)
        if self.started:
            self._on_listening()

    @property
    def _house(self) -> House:
        return cast(House, self.lifespan.state["house"])

    @property
    def _connections(self) -> tuple[Connection, ...]:
        return tuple(cast(Iterable[Connection], self.server_state.connections))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A first signal asks for the end, a second one for a quick end."""
        if self.should_exit:
            self.force_exit = True
            return
        self.should_exit = True
        if sig == signal.SIGTERM:
            self._drain_s = self.server_state.settings.drain_s
        if self.started:
            self._house.drain()

    async def main_loop(self) -> None:
        """Serve until a signal comes, and for as long after it as others need to notice."""
        await super().main_loop()
        log.info("draining", drain_s=self._drain_s, calls=len(self.server_state.tasks))
        self._close_after_answers()
        until_s = time.monotonic() + self._drain_s
        await self._while(lambda: time.monotonic() < until_s)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Stop listening, answer what is here, then let go of the engines."""
        await self._close_door()
        self._close_after_answers()
        # Idle connections stay open meanwhile: a call that is on its way on one of them is answered, not lost.
        await self._while(lambda: self._at_work)
        for connection in self._connections:
            connection.shutdown()
        await self._while(lambda: bool(self.server_state.connections or self.server_state.tasks))
        if self.force_exit:
            await self._cut_off()
        await self._close_engines()
        log.info("closed")

    @property
    def _at_work(self) -> bool:
        return bool(self.server_state.tasks) or any(connection.busy for connection in self._connections)

    async def _close_door(self) -> None:
        """Stop listening. Who is connected by the kernel already, and may have sent a call, is let in first."""
        last = [waiting for server in self.servers for one in server.sockets for waiting in _waiting(one)]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connected in last:
            await loop.connect_accepted_socket(
                lambda: Connection(self.config, self.server_state, self.lifespan.state), connected
            )

    def _close_after_answers(self) -> None:
        self.server_state.closing = True
        for connection in self._connections:
            connection.say_last()

    async def _while(self, holds: Callable[[], bool]) -> None:
        while holds() and not self.force_exit:  # noqa: ASYNC110 - a signal handler sets no event of the loop
            await asyncio.sleep(_TICK_S)

    async def _cut_off(self) -> None:
        tasks = tuple(self.server_state.tasks)
        log.warning("calls_cut_off", calls=len(tasks))
        for connection in self._connections:
            connection.transport.abort()
        if tasks:
            # They see that nobody waits any more, and give up their work.
            await asyncio.wait(tasks, timeout=_HURRY_S)

    async def _close_engines(self) -> None:
        closing = asyncio.ensure_future(self.lifespan.shutdown())
        await self._while(lambda: not closing.done())
        await asyncio.wait((closing,), timeout=_HURRY_S)


def _waiting(listening: socket) -> Iterator[socket]:
    """Connections that nobody has accepted yet."""
    with fromfd(listening.fileno(), listening.family, listening.type) as ours:
        ours.setblocking(False)
        for _ in range(_MOST_WAITING):
            try:
                yield ours.accept()[0]
            except BlockingIOError:
                return

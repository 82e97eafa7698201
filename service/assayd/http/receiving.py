"""Takes in a request's body within bounds: of its size, its time, and the memory of all that arrive at once."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from starlette.requests import Request

from ..domain.failure import ArrivedTooSlowly, FailureKind, Rejected
from .house import house_of

_BYTES_PER_MB: Final = 1_000_000
_RETRY_AFTER_S: Final = 1.0


class Arriving:
    """The bodies that are being received: nobody has judged yet whether they are worth their memory."""

    def __init__(self, *, max_mb: float) -> None:
        self._max_mb = max_mb
        self._free_bytes = int(max_mb * _BYTES_PER_MB)

    @contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        """Room for one body: call what is given with the size of each piece. It is free again behind the block.

        The call raises ``Rejected`` (``overloaded``) where there is no room left.
        """
        taken_bytes = 0

        def take(size_bytes: int) -> None:
            nonlocal taken_bytes
            if size_bytes > self._free_bytes:
                raise Rejected(
                    FailureKind.OVERLOADED,
                    f"more than {self._max_mb:g} MB of calls are arriving at once: come again later, or raise "
                    "server.max_arriving_mb",
                    retry_after_s=_RETRY_AFTER_S,
                )
            taken_bytes += size_bytes
            self._free_bytes -= size_bytes

        try:
            yield take
        finally:
            self._free_bytes += taken_bytes


async def receive(request: Request, *, max_mb: float) -> bytes:
    """The whole body.

    Raises ``Rejected``: ``too_long`` above ``max_mb``, ``overloaded`` where too much arrives at once, and
    ``ArrivedTooSlowly``.
    """
    arriving: Arriving = request.state.arriving
    limit_bytes = int(max_mb * _BYTES_PER_MB)
    within_s = house_of(request).settings.server.body_timeout_s
    body = bytearray()
    with arriving.room() as take:
        try:
            async with asyncio.timeout(within_s):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > limit_bytes:
                        raise Rejected(
                            FailureKind.TOO_LONG,
                            f"the body is larger than {max_mb:g} MB: send fewer rollouts a call, or raise "
                            "server.max_body_mb",
                        )
                    take(len(chunk))
                    body += chunk
        except TimeoutError:
            raise ArrivedTooSlowly(within_s) from None
    return bytes(body)

"""What all connections of one server share."""

from typing import Final

from uvicorn.server import ServerState

from ..settings import ServerSettings

SURPLUS: Final = 64
"""Connections above the limit that are still told so; those above are hung up on."""


class Doors(ServerState):
    """Who is inside, how many may be, and whether the service is about to close."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__()
        self.settings = settings
        self.closing = False

    @property
    def full(self) -> bool:
        """Whether whoever came last has to leave again."""
        return len(self.connections) > self.settings.max_connections

    @property
    def overrun(self) -> bool:
        """Whether there is not even room for telling so."""
        return len(self.connections) > self.settings.max_connections + SURPLUS

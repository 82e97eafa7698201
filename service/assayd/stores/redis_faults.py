"""The one place where the errors of the Redis client are told apart."""

from typing import Final

from redis import exceptions

from ..telemetry import CacheFault

SILENT: Final = frozenset({CacheFault.TIMEOUT, CacheFault.CONNECTION, CacheFault.RUBBISH})
"""Faults of a Redis that cannot be talked to, as opposed to one that says no."""


def fault_of(error: Exception) -> CacheFault:
    """What kind of failure it was."""
    match error:
        case TimeoutError() | exceptions.TimeoutError():
            return CacheFault.TIMEOUT
        case exceptions.OutOfMemoryError():
            return CacheFault.FULL
        # Its kin are connection errors to the client, but here Redis has answered.
        case exceptions.AuthenticationError() | exceptions.AuthorizationError() | exceptions.ResponseError():
            return CacheFault.REFUSED
        case exceptions.ConnectionError() | OSError():
            return CacheFault.CONNECTION
        case _:
            return CacheFault.RUBBISH

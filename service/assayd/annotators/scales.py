"""Which coefficients hold for a call: those it sends, a shipped table's, or those that were fitted to the model."""

from collections.abc import Mapping
from typing import Final

from ..domain.failure import FailureKind, Rejected
from .cutting import Cut
from .fitted import Fitted
from .normalizers import IDENTITY, NORMALIZERS, Scale

NO_NORMALIZER: Final = "none"


def scale_for(named: str | Scale | Fitted | None, how: Cut) -> Scale:
    """The coefficients of ``named`` for completions that are cut by ``how``.

    Raises ``Rejected`` where there are none: a reward would silently be on another scale, so (0, 1) is never
    assumed.
    """
    match named:
        case None:
            raise _unscalable("this service has no normalizer")
        case Fitted(fits=fits):
            return _fit(fits, how, "this service")
        case str() if named == NO_NORMALIZER:
            return IDENTITY
        case str():
            return _fit(_shipped(named), how, named)
        case _:
            return named


def _shipped(named: str) -> Mapping[Cut, Scale]:
    if named in NORMALIZERS:
        return NORMALIZERS[named]
    known = ", ".join((NO_NORMALIZER, *NORMALIZERS))
    detail = f"no normalizer {named!r}: name one of {known}, or send coefficients"
    raise Rejected(FailureKind.INVALID, detail, pointer="/options/normalizer")


def _fit(fits: Mapping[Cut, Scale], how: Cut, whose: str) -> Scale:
    if how in fits:
        return fits[how]
    known = "; ".join(map(str, fits))
    raise _unscalable(f"{whose} has no normalizer for {how} (only for: {known})")


def _unscalable(what: str) -> Rejected:
    way_out = 'fit one with `assayd fit-normalizer`, send coefficients, or say "none"'
    return Rejected(FailureKind.INVALID, f"{what}: {way_out}", pointer="/options/normalizer")

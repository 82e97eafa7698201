"""Which characters each token of a completion stands for, found on the trainer's side.

Text and offsets are sent instead of ids where the service is not to know the policy's tokenizer.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

_CONTEXT: Final = 16
_WINDOW: Final = 512

Offsets = list[tuple[int, int]]
"""Half-open ranges of code points, one per token."""


def locate(
    token_ids: Sequence[int], decode: Callable[[Sequence[int]], str], skipped: Collection[int] = ()
) -> tuple[str, Offsets] | None:
    """The text of ``token_ids`` and the characters of each; None where the decoder does not tell tokens apart.

    ``decode`` makes text of ids, markers included. Ids in ``skipped`` (end and padding markers) are left out of the
    text; they stand for no characters, at the place where the next token begins. Tokens that hold parts of one
    character all own it. Calls ``decode`` about twice a token, on a window that does not grow.
    """
    kept = [token_id for token_id in token_ids if token_id not in skipped]
    text = decode(kept)
    spans = _spans(kept, decode, text)
    if spans is None:
        return None
    offsets: Offsets = []
    place = len(text)
    for token_id in reversed(token_ids):
        span = (place, place) if token_id in skipped else spans.pop()
        place = span[0]
        offsets.append(span)
    return text, offsets[::-1]


def _spans(ids: Sequence[int], decode: Callable[[Sequence[int]], str], text: str) -> Offsets | None:
    """What each token adds to the text, learned from what longer and longer windows decode to."""
    spans: Offsets = []
    window = read = 0  # the window begins at token `window`; its text is understood up to token `read`
    understood = ""
    base = settled = 0  # characters of `text` up to token `read`, and up to the token before `end`
    for end in range(1, len(ids) + 1):
        if end - read > _WINDOW:
            return None
        seen = decode(ids[window:end])
        news = seen[len(understood) :] if seen.startswith(understood) else None
        agreed = _common_prefix(news or "", text[base : base + len(seen)])
        # Not whole: a part of a character, or a space that the next token removes.
        whole = news is not None and agreed == len(news)
        start, settled = settled, max(settled, base + agreed)
        spans.append((start, settled if whole else min(settled + 1, len(text))))
        if whole and end - read >= _CONTEXT:
            window, read, base = read, end, settled
            understood = decode(ids[window:read])
    return spans if settled == len(text) else None


def _common_prefix(left: str, right: str) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(left), len(right)))

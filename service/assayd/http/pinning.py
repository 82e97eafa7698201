"""``If-Reward-Match``: a call that is judged by the recipe it names, or not at all.

The header is to recipes what If-Match (RFC 9110, section 13.1.1) is to representations: ``*``, or a list of ids, quoted
or bare. A weak id (``W/"..."``) matches nothing, as there: what may have changed a little is not the same reward.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

from starlette.requests import Request

from ..annotators import rewriting
from ..annotators.options import CriticOptions, Mode
from ..annotators.probing import ProbeOptions
from ..annotators.segment_options import Method, SegmentOptions
from ..annotators.sequence import SequenceOptions
from ..domain.failure import FailureKind, RecipeChanged, Rejected
from ..domain.ports import Annotator
from ..domain.provenance import Recipe
from .house import House
from .schemas import Task

REWARD_MATCH: Final = "If-Reward-Match"

_TAG: Final = re.compile(r'(?P<weak>W/)?"(?P<quoted>[^"]*)"|(?P<bare>[^\s",*]+)')


def check_pin(request: Request, recipe: Recipe) -> None:
    """Raise ``RecipeChanged`` where the call pins other recipes, ``Rejected`` where its pins cannot be read."""
    lines = request.headers.getlist(REWARD_MATCH)
    if not lines:
        return
    written = ", ".join(lines).strip(" \t,")
    if written != "*" and recipe.id not in _ids(written):
        raise RecipeChanged(written, recipe.id)


def _ids(written: str) -> set[str]:
    """The ids that match strongly."""
    parts = (part.strip(" \t") for part in written.split(","))
    found = [_TAG.fullmatch(part) for part in parts if part]
    if not found or not all(found):
        raise Rejected(
            FailureKind.INVALID,
            f"{REWARD_MATCH} has to be `*` or recipe ids (`sha256:...`, quoted or not), separated by commas",
        )
    return {tag["quoted"] or tag["bare"] for tag in found if tag is not None and not tag["weak"]}


async def pinnable(house: House) -> list[dict[str, Any]]:
    """The recipes of calls that name neither options nor tokenizer, as far as this service serves them."""
    told = []
    for route, said, annotator in _plain_calls(house):
        try:
            recipe = (await annotator()).recipe
        except Rejected:
            continue
        told.append({"route": route, **said, "id": recipe.id})
    return told


def _plain_calls(
    house: House,
) -> Iterator[tuple[str, dict[str, str], Callable[[], Awaitable[Annotator[Any]]]]]:
    """Route, what a call says, and what makes its annotator."""
    mode = Mode.STRICT
    for task in Task:
        critic = partial(house.critic, task, mode, CriticOptions(), None)
        yield "/score/token", {"method": "critic", "task": task.value}, critic
    yield "/score/token", {"method": "grm"}, partial(house.prober, mode, ProbeOptions(), None)
    for method in Method:
        scorer = partial(house.segment_scorer, method, mode, SegmentOptions(), None)
        yield "/score/segment", {"method": method.value}, scorer
    sequence = partial(house.sequence_scorer, mode, SequenceOptions(), None)
    yield "/score/sequence", {"method": "sequence"}, sequence
    for way in rewriting.Method:
        rewriter = partial(
            house.rewriter, way, mode, rewriting.RewriteOptions(), None, task=Task.MATH_STEPS, rubric=None
        )
        yield "/rewrite", {"method": way.value}, rewriter

"""Puts the parts of a call together again: one result per rollout, in order."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .attempts import Part
from .errors import AssayError, RecipeDrift
from .wire import failed_result

Body = Mapping[str, Any]


def joined(parts: Sequence[Part], ids: Sequence[str]) -> dict[str, Any]:
    """The body of the answer to the whole call; rollouts of a part without an answer fail by its error.

    Raises ``RecipeDrift`` where the parts were judged by different recipes. The recipe of a call that nobody answered
    is empty.
    """
    results: list[Body | None] = [None] * len(ids)
    recipe: Body = {}
    for part in parts:
        if isinstance(part.outcome, AssayError):
            for index in part.indices:
                results[index] = failed_result(ids[index], part.outcome.kind, str(part.outcome))
            continue
        for index, result in zip(part.indices, part.outcome["results"], strict=True):
            results[index] = result
        recipe = _one_recipe(recipe, part.outcome.get("recipe", {}))
    whole = [part.outcome for part in parts if not isinstance(part.outcome, AssayError)]
    batch = whole[0].get("batch", {}) if len(whole) == 1 else {}
    return {"results": results, "recipe": recipe, "batch": batch}


def joined_sequences(
    parts: Sequence[Part], ids: Sequence[str], *, weights_of_data_set: bool
) -> dict[str, Any]:
    """The same for ``/score/sequence``, where a rollout also has a share of its call.

    Each part's sampling weights sum to 1 over that part; here they are made shares of the whole call, as they would be
    had it been one request. ``weights_of_data_set``: they are shares of a whole data set already.
    """
    answered = [part for part in parts if not isinstance(part.outcome, AssayError)]
    sums = [_batch(part).get("weight_sum") for part in answered]
    known = [weight for weight in sums if weight is not None]
    total = math.fsum(known) if known else None
    if total is not None and not weights_of_data_set and len(known) > 1:
        pairs = zip(answered, sums, strict=True)
        scaled = {id(part): _scaled(part, weight, total) for part, weight in pairs if weight is not None}
        parts = [scaled.get(id(part), part) for part in parts]
    body = joined(parts, ids)
    if answered:
        body["batch"] = {**body["batch"], **_tally(body["results"], total)}
    return body


def _one_recipe(known: Body, other: Body) -> Body:
    if known and other and known["id"] != other["id"]:
        raise RecipeDrift(
            f"the service's recipe changed while the call was under way, from {known['id']} to {other['id']}: "
            "rewards of both cannot be compared; judge these rollouts anew"
        )
    return known or other


def _batch(part: Part) -> Body:
    assert not isinstance(part.outcome, AssayError)  # noqa: S101 - the caller took those out
    batch: Body = part.outcome.get("batch", {})
    return batch


def _scaled(part: Part, weight_sum: float, total: float) -> Part:
    assert not isinstance(part.outcome, AssayError)  # noqa: S101 - the caller took those out
    share = weight_sum / total if total > 0 else 0.0

    def scaled(result: Body) -> Body:
        weight = result.get("sampling_weight")
        return result if weight is None else {**result, "sampling_weight": weight * share}

    return Part(part.indices, {**part.outcome, "results": [scaled(one) for one in part.outcome["results"]]})


def _tally(results: Sequence[Body], total: float | None) -> dict[str, Any]:
    keep = [result.get("keep") for result in results]
    known = [kept for kept in keep if kept is not None]
    return {
        "positive_ratio": sum(known) / len(known) if known else None,
        "keep": keep,
        "n_keep": sum(known) if known else None,
        "weight_sum": total,
    }

"""What ``testing.FakeServer`` answers, in the shapes of the service. Tests hold them to its contract."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

TASKS: Final = ("relc-toxicity", "relc-sentiment", "relc-summarization", "remarks", "math-steps")
VERSION: Final = "fake"
MODEL: Final = {"name": "assay/fake", "revision": VERSION}

_PIECE: Final = re.compile(r"\s*\S+|\s+")

Json = dict[str, Any]


def offsets_of(completion: Mapping[str, Any]) -> list[list[int]]:
    """One range of characters per token: those that were sent; else one character per id; else one word per token."""
    if completion.get("offsets") is not None:
        return [list(pair) for pair in completion["offsets"]]
    text = completion.get("text")
    ids = completion.get("token_ids")
    if ids is not None:
        last = len(ids) if text is None else len(text)
        return [[min(at, last), min(at + 1, last)] for at in range(len(ids))]
    return [list(match.span()) for match in _PIECE.finditer(text or "")]


def recipe_of(path: str, body: Mapping[str, Any], version: str) -> Json:
    """What the service would be judging by; its id changes with whatever changes an answer."""
    recipe = {
        "method": body.get("method", path.rsplit("/", 1)[1].replace("token", "critic")),
        "task": body.get("task"),
        "mode": body.get("mode", "strict"),
        "model": MODEL,
        "other_models": {},
        "prompt": None,
        "tokenizer": _pinned(body.get("tokenizer")),
        "options": body.get("options", {}),
        "service_version": version,
    }
    digest = hashlib.sha256(json.dumps([path, recipe], sort_keys=True).encode()).hexdigest()
    return {"id": f"sha256:{digest}", **recipe}


def judged(path: str, method: str, rollout: Mapping[str, Any], intrinsic: Sequence[float]) -> Json:
    """One rollout with these numbers, one per token, on whichever route."""
    completion = rollout["completion"]
    head: Json = {"id": rollout["id"], "status": "ok"}
    tail: Json = {"provenance": _provenance(rollout)}
    if path == "/score/sequence":
        return {**head, **_sequence(rollout, math.fsum(intrinsic)), **tail}
    offsets = offsets_of(completion)
    if path == "/rewrite":
        return {**head, **_rewrite(rollout, offsets), **tail}
    rewards = list(intrinsic)
    if rewards:
        rewards[-1] += rollout.get("extrinsic_reward") or 0.0
    paid: Json = {**head, "rewards": rewards, "intrinsic": list(intrinsic), "offsets": offsets}
    if completion.get("token_ids") is not None:
        paid["token_ids"] = list(completion["token_ids"])
    if path == "/score/segment":
        return {**paid, **_segments(completion, intrinsic, offsets), **tail}
    if method == "grm":
        probs = [0.5] * len(offsets)
        branch = "correct" if rollout.get("correct") else "incorrect"
        counted = {"clipped_low": 0, "clipped_high": 0, "all_zero": not any(intrinsic)}
        return {**paid, "probs": probs, "branch": branch, **counted, **tail}
    return {**paid, "spans": _spans(completion, intrinsic, offsets), "critique": "", "queried": True, **tail}


def tally(results: Sequence[Json], options: Mapping[str, Any]) -> Json:
    """Compare the sequence results of a call as the service does: fills them in, and gives the ``batch``."""
    told = [
        one
        for one in results
        if one["status"] == "ok" and one["value"] is not None and options.get("value_source") != "none"
    ]
    for one in told:
        one["advantage"] = one["reward"] - one["value"]
        one["keep"] = one["advantage"] > 0
    weights = math.fsum(max(one["advantage"], 0.0) for one in told)
    total = options.get("dataset_weight_sum") or weights
    for one in told:
        one["sampling_weight"] = max(one["advantage"], 0.0) / total if total > 0 else 0.0
    kept = sum(one["keep"] for one in told)
    return {
        "positive_ratio": kept / len(told) if told else None,
        "keep": [one.get("keep") for one in results],
        "n_keep": kept if told else None,
        "weight_sum": weights if told else None,
    }


def problem(
    status: int,
    kind: str,
    detail: str,
    *,
    pointer: str | None = None,
    retry_after_s: float | None = None,
) -> Json:
    """Why a whole call is refused (RFC 9457)."""
    told = {"pointer": pointer, "retry_after_s": retry_after_s}
    return {
        "type": f"urn:assay:problem:{kind}",
        "title": "The call was refused",
        "status": status,
        "kind": kind,
        "detail": detail,
        **{name: value for name, value in told.items() if value is not None},
    }


def _pinned(tokenizer: Mapping[str, Any] | None) -> Json | None:
    if tokenizer is None:
        return None
    return {"name": tokenizer["name"], "revision": tokenizer.get("revision") or VERSION}


def _provenance(rollout: Mapping[str, Any]) -> Json:
    key = hashlib.sha256(json.dumps(rollout, sort_keys=True).encode()).hexdigest()
    usage = {"calls": 1, "prompt_tokens": 0, "completion_tokens": 0}
    return {"key": f"sha256:{key}", "cached": False, "usage": usage, "timings": {"elapsed_s": 0.0}}


def _spans(
    completion: Mapping[str, Any], intrinsic: Sequence[float], offsets: Sequence[Sequence[int]]
) -> list[Json]:
    """One remark for each token that earned or cost something."""
    text = completion.get("text") or ""
    return [
        {
            "text": text[start:end],
            "label": "fake",
            "polarity": "positive" if reward > 0 else "negative",
            "reward": reward,
            "match": "exact",
            "start": start,
            "end": end,
            "token_start": at,
            "token_end": at + 1,
        }
        for at, (reward, (start, end)) in enumerate(zip(intrinsic, offsets, strict=True))
        if reward
    ]


def _segments(
    completion: Mapping[str, Any], intrinsic: Sequence[float], offsets: Sequence[Sequence[int]]
) -> Json:
    text = completion.get("text") or ""
    segments = [
        {
            "token_start": at,
            "token_end": at + 1,
            "start": start,
            "end": end,
            "text": text[start:end],
            "raw": reward,
            "reward": reward,
            "progress": (at + 1) / len(offsets),
            "mean": 0.0,
            "std": 1.0,
            "std_floored": False,
        }
        for at, (reward, (start, end)) in enumerate(zip(intrinsic, offsets, strict=True))
    ]
    mean = math.fsum(intrinsic) / len(intrinsic) if intrinsic else None
    return {"segments": segments, "sequence_score": mean}


def _sequence(rollout: Mapping[str, Any], reward: float) -> Json:
    extrinsic = rollout.get("extrinsic_reward")
    reward = reward if extrinsic is None else extrinsic
    return {
        "components": {},
        "raw": {},
        "reward": reward,
        "value": rollout.get("value"),
        "advantage": None,
        "keep": None,
        "sampling_weight": None,
    }


def _rewrite(rollout: Mapping[str, Any], offsets: list[list[int]]) -> Json:
    """The reference in place of the completion, as one edit; the completion itself where there is none."""
    text = rollout["completion"].get("text") or ""
    rewritten = text if rollout.get("reference") is None else rollout["reference"]
    edit = {
        "start": 0,
        "end": len(text),
        "token_start": 0,
        "token_end": len(offsets),
        "replacement": rewritten,
    }
    step = {"op": "replace", "source": 0, "target": 0, "source_text": text, "target_text": rewritten}
    changed = rewritten != text
    places = [list(match.span()) for match in _PIECE.finditer(rewritten)]
    return {
        "rewritten": rewritten,
        "error_step": 0 if changed else None,
        "verified": True,
        "correct": not changed,
        "edits": [edit] if changed else [],
        "edit_distance": int(changed),
        "edit_ratio": float(changed),
        "prefix_preserved": True,
        "weights": [1.0 if changed else 0.5] * (len(places) + 1),
        "operations": [step] if changed else [],
        "offsets": places,
        "policy_tokens": False,
        "located": "",
        "reply": rewritten,
        "critique": "",
    }

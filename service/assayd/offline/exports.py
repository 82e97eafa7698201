"""The shapes in which trainers take annotated rows. A failure is never written as a number."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .columns import Columns
from .kinds import KINDS, Shape, is_ok
from .plan import Plan
from .stopping import Stopped
from .tables import is_parquet

Results = Mapping[str, Mapping[str, Any]]
_TURNS: Final = [{"role": "s", "content": "s"}]


@dataclass(frozen=True, slots=True)
class Annotated:
    """One row with its results. ``rollout`` is what was judged, None for a row that does not say."""

    index: int
    values: Mapping[str, Any]
    rollout: Mapping[str, Any] | None
    results: Results
    columns: Columns

    @property
    def id(self) -> str:
        """What the data set calls it, its place otherwise."""
        name = self.columns.find(self.values, "id")
        return str(self.index if name is None else name)

    def ok(self, kind: str) -> Mapping[str, Any] | None:
        """The annotation of that kind; None where it was not asked for, or failed."""
        result = self.results.get(kind)
        return result if result is not None and is_ok(result) else None

    @property
    def dense(self) -> Mapping[str, Any] | None:
        """The first annotation with a reward per token."""
        return next((self.ok(name) for name in self.results if KINDS[name].dense and self.ok(name)), None)

    @property
    def text(self) -> str | None:
        """The completion's text, None where only its tokens are known."""
        return None if self.rollout is None else self.rollout["completion"].get("text")

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt as turns."""
        prompt = (self.rollout or {}).get("prompt") or []
        return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)

    @property
    def reward(self) -> float | None:
        """One number for the completion: the sequence reward, else the sum over its tokens."""
        sequence, dense = self.ok("sequence"), self.dense
        if sequence is not None:
            return float(sequence["reward"])
        return None if dense is None else float(sum(dense["rewards"]))


@dataclass(frozen=True, slots=True)
class Export:
    """One shape: what it says, the fields of its rows (None: text or turns), and the annotations it is made of.

    ``rows`` names the training rows that ``rewrite`` must have been asked for.
    """

    about: str
    shape: Shape
    made_of: tuple[str, ...]
    write: Callable[[Annotated], Iterable[Mapping[str, Any]]]
    rows: str | None = None


def _rewards(row: Annotated) -> Iterable[Mapping[str, Any]]:
    token, segment, sequence = (row.ok(kind) or {} for kind in ("token", "segment", "sequence"))
    yield {
        "row": row.index,
        "id": row.id,
        "token": token.get("rewards"),
        "segment": segment.get("rewards"),
        "sequence": sequence.get("reward"),
        "advantage": sequence.get("advantage"),
    }


def _field_of_rewrite(name: str) -> Callable[[Annotated], Iterable[Mapping[str, Any]]]:
    def write(row: Annotated) -> Iterable[Mapping[str, Any]]:
        made = (row.ok("rewrite") or {}).get(name)
        if made is None:
            return []
        return [made] if isinstance(made, Mapping) else made

    return write


def _alol(row: Annotated) -> Iterable[Mapping[str, Any]]:
    sequence = row.ok("sequence") or {}
    if sequence.get("advantage") is None or row.rollout is None:
        return
    yield {
        "row": row.index,
        "prompt": row.rollout["prompt"],
        "completion": row.text,
        "reward": sequence["reward"],
        "value": sequence["value"],
        "good_advantage": sequence["advantage"],
        # The paper's cache has a second, rejected response to every prompt; a rollout is one response.
        "bad_advantage": None,
        "keep": sequence["keep"],
        "sampling_weight": sequence["sampling_weight"],
    }


def _trl(row: Annotated) -> Iterable[Mapping[str, Any]]:
    dense, sequence = row.dense or {}, row.ok("sequence") or {}
    if row.rollout is None or row.reward is None:
        return
    prompt, text = row.rollout["prompt"], row.text
    yield {
        "prompt": prompt,
        "completion": text if isinstance(prompt, str) else [{"role": "assistant", "content": text}],
        "completion_ids": dense.get("token_ids") or row.rollout["completion"].get("token_ids"),
        "token_rewards": dense.get("rewards"),
        "reward": row.reward,
        "advantage": sequence.get("advantage"),
        "keep": sequence.get("keep"),
        "sampling_weight": sequence.get("sampling_weight"),
    }


def _preference(row: Annotated) -> Iterable[Mapping[str, Any]]:
    rewrite = row.ok("rewrite") or {}
    if row.rollout is None or rewrite.get("verified") is not True or rewrite.get("correct") is not False:
        return
    prompt, pair = row.rollout["prompt"], {"chosen": rewrite["rewritten"], "rejected": row.text}
    if not isinstance(prompt, str):
        pair = {name: [{"role": "assistant", "content": text}] for name, text in pair.items()}
    yield {"prompt": prompt, **pair}


def _verl(row: Annotated) -> Iterable[Mapping[str, Any]]:
    dense, sequence = row.dense or {}, row.ok("sequence") or {}
    if row.rollout is None or row.reward is None:
        return
    yield {
        "data_source": str(row.values.get("data_source") or "assay"),
        "prompt": row.messages,
        "ability": str(row.values.get("ability") or ""),
        "reward_model": {"style": "rule", "ground_truth": str(row.rollout.get("reference") or "")},
        "extra_info": {
            "index": row.index,
            "id": row.id,
            "response": row.text,
            "response_ids": dense.get("token_ids") or row.rollout["completion"].get("token_ids"),
            "reward_score": row.reward,
            # In a struct: a bare list of lists breaks where veRL makes an array of it.
            "token_scores": {"v": dense.get("rewards")},
            "advantage": sequence.get("advantage"),
            "sampling_weight": sequence.get("sampling_weight"),
        },
    }


_RLMEC: Final[Shape] = {
    "input": "s",
    "output": "s",
    "regular": "s",
    "reward": ["f"],
    "ref_prob": ["f"],
    "weight_regular": ["f"],
}
_RECORD: Final[Shape] = {
    "question": "s",
    "solution": "s",
    "prediction": "s",
    "error_step": "i",
    "error_token": "s",
    "correct_step": "s",
    "fix_pred": "s",
    "is_correct": "b",
}

EXPORTS: Final[Mapping[str, Export]] = {
    "rewards": Export(
        "every row's rewards and nothing else; null where there are none",
        {"row": "i", "id": "s", "token": ["f"], "segment": ["f"], "sequence": "f", "advantage": "f"},
        ("token", "segment", "sequence"),
        _rewards,
    ),
    "rlmec": Export(
        "the six fields of RLMEC's trainer", _RLMEC, ("rewrite",), _field_of_rewrite("rlmec_row"), "rlmec"
    ),
    "grm": Export(
        "what a rewriter learns from: task, input, output",
        {"task": "s", "input": "s", "output": "s"},
        ("rewrite",),
        _field_of_rewrite("training_rows"),
        "grm",
    ),
    "record": Export(
        "the eight fields of RLMEC's records", _RECORD, ("rewrite",), _field_of_rewrite("record"), "record"
    ),
    "alol": Export(
        "A-LoL's cache: reward, value, advantage, keep, sampling weight",
        {
            "row": "i",
            "prompt": None,
            "completion": "s",
            "reward": "f",
            "value": "f",
            "good_advantage": "f",
            "bad_advantage": "f",
            "keep": "b",
            "sampling_weight": "f",
        },
        ("sequence",),
        _alol,
    ),
    "trl": Export(
        "prompt and completion as TRL takes them, with token rewards and ids",
        {
            "prompt": None,
            "completion": None,
            "completion_ids": ["i"],
            "token_rewards": ["f"],
            "reward": "f",
            "advantage": "f",
            "keep": "b",
            "sampling_weight": "f",
        },
        ("token", "segment", "sequence"),
        _trl,
    ),
    "trl-preference": Export(
        "prompt, chosen (a verified correction), rejected (what the policy wrote)",
        {"prompt": None, "chosen": None, "rejected": None},
        ("rewrite",),
        _preference,
    ),
    "verl": Export(
        "veRL's columns, the rewards in extra_info",
        {
            "data_source": "s",
            "prompt": _TURNS,
            "ability": "s",
            "reward_model": {"style": "s", "ground_truth": "s"},
            "extra_info": {
                "index": "i",
                "id": "s",
                "response": "s",
                "response_ids": ["i"],
                "reward_score": "f",
                "token_scores": {"v": ["f"]},
                "advantage": "f",
                "sampling_weight": "f",
            },
        },
        ("token", "segment", "sequence"),
        _verl,
    ),
}


def exports_of(written: Iterable[str], plan: Plan) -> dict[str, Path]:
    """Files by export, from ``trl=rows.parquet`` and the like; raises ``Stopped`` for what this run cannot give."""
    files = {}
    for one in written:
        name, separator, path = one.partition("=")
        if not separator or name not in EXPORTS:
            raise Stopped(f"--export {one}: write NAME=FILE, where NAME is one of {', '.join(EXPORTS)}")
        export = EXPORTS[name]
        if not plan.asked.keys() & set(export.made_of):
            raise Stopped(f"--export {name} is made of {' or '.join(export.made_of)}: name it with --with")
        asked = (plan.asked.get("rewrite", {}).get("options") or {}).get("rows") or []
        if export.rows is not None and export.rows not in asked:
            raise Stopped(
                f'--export {name} needs the rows of the service: write rows = ["{export.rows}"] under '
                "[rewrite.options] in the file of --options"
            )
        files[name] = Path(path)
        is_parquet(files[name])
    return files

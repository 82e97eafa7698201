"""What trainers read, read by their own libraries or by readers written from the field lists."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from trl.data_utils import is_conversational

from assayd.offline.finishing import Finished
from assayd.offline.stopping import Stopped

Run = Callable[..., Finished]


def loaded(path: Path, cache: Path) -> datasets.Dataset:
    """As a trainer loads it."""
    kind = "parquet" if path.suffix == ".parquet" else "json"
    return datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=str(cache))


@pytest.fixture
def rows(lines: Any) -> list[dict[str, Any]]:
    """Eight rows: the completion of the third is empty, the sixth says nothing."""
    made: list[dict[str, Any]] = lines.make(8)
    made[2]["completion"]["text"] = ""
    del made[5]["completion"]
    return made


@pytest.fixture
def options(tmp_path: Path) -> Path:
    """All training rows, and segments without a normalizer."""
    path = tmp_path / "options.toml"
    path.write_text('[segment.options]\nnormalizer = "none"\n[rewrite.options]\nrows = ["grm", "record"]\n')
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_trl_loads_what_it_is_given(
    run_annotate: Run, service_url: str, rows: Any, options: Path, tmp_path: Path, lines: Any, suffix: str
) -> None:
    """Texts stay texts, turns stay turns; one reward per token id; no row for what failed."""
    turns = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in rows]
    for name, source in (("texts", rows), ("turns", turns)):
        export = tmp_path / f"{name}.{suffix}"
        run_annotate(
            lines.write(tmp_path / f"{name}-in.jsonl", source),
            tmp_path / f"{name}-out.jsonl",
            "segment",
            url=service_url,
            options=_only(options, "segment"),
            exports=[f"trl={export}"],
        )
        made = loaded(export, tmp_path / "cache")
        assert len(made) == 6
        assert is_conversational(made[0]) == (name == "turns")
        for row in made:
            assert len(row["token_rewards"]) == len(row["completion_ids"]) > 0
            assert row["reward"] == pytest.approx(math.fsum(row["token_rewards"]))
            assert row["advantage"] is None
        said = made[1]["completion"]
        assert (said if name == "texts" else said[0]["content"]) == "1 + 1 = 2.\nA: 2"


def _only(options: Path, kind: str) -> Path:
    """The same options for one annotation alone."""
    path = options.with_name(f"{kind}.toml")
    parts = options.read_text().split("[rewrite.options]")
    path.write_text(parts[0] if kind == "segment" else "[rewrite.options]" + parts[1])
    return path


def test_verl_finds_its_columns(
    run_annotate: Run, service_url: str, rows: Any, options: Path, tmp_path: Path, lines: Any
) -> None:
    """The five columns of its data sets, the same keys in every row, and rewards that do not become an array."""
    export = tmp_path / "verl.parquet"
    run_annotate(
        lines.write(tmp_path / "in.jsonl", rows),
        tmp_path / "out.jsonl",
        "segment",
        url=service_url,
        options=_only(options, "segment"),
        exports=[f"verl={export}"],
    )
    made = loaded(export, tmp_path / "cache")
    assert made.column_names == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    assert [row["extra_info"]["id"] for row in made] == ["r0", "r1", "r3", "r4", "r6", "r7"]
    for row in made:
        assert row["prompt"][0]["role"] == "user"
        assert row["reward_model"]["ground_truth"].startswith("A: ")
        extra = row["extra_info"]
        assert len(extra["token_scores"]["v"]) == len(extra["response_ids"]) > 0
        assert extra["reward_score"] == pytest.approx(math.fsum(extra["token_scores"]["v"]))
    assert len({tuple(row["extra_info"]) for row in made}) == 1


def test_plain_rewards_have_a_line_for_every_row(
    run_annotate: Run, service_url: str, rows: Any, options: Path, tmp_path: Path, lines: Any
) -> None:
    """Null where there are none: never a number for a failure."""
    for export in (tmp_path / "rewards.jsonl", tmp_path / "rewards.parquet"):
        run_annotate(
            lines.write(tmp_path / "in.jsonl", rows),
            tmp_path / "out.jsonl",
            "token,segment",
            url=service_url,
            options=_only(options, "segment"),
            exports=[f"rewards={export}"],
        )
    made, typed = (
        lines.read(tmp_path / "rewards.jsonl"),
        pq.read_table(tmp_path / "rewards.parquet").to_pylist(),
    )
    assert made == typed
    assert [row["row"] for row in made] == list(range(8))
    annotated = lines.read(tmp_path / "out.jsonl")
    for row, source in zip(made, annotated, strict=True):
        for kind in ("token", "segment"):
            result = source[f"assay_{kind}"]
            assert row[kind] == (result["rewards"] if result["status"] == "ok" else None)
        assert row["sequence"] is None
    assert [row["row"] for row in made if row["token"] is None] == [2, 5]


def test_rewriters_learn_from_what_is_exported(
    run_annotate: Run, service_url: str, rows: Any, options: Path, tmp_path: Path, lines: Any
) -> None:
    """Copy rows and records of right solutions, in the fields of the paper's code and in their order."""
    grm, record = tmp_path / "grm.jsonl", tmp_path / "record.jsonl"
    finished = run_annotate(
        lines.write(tmp_path / "in.jsonl", rows),
        tmp_path / "out.jsonl",
        "rewrite",
        url=service_url,
        options=_only(options, "rewrite"),
        exports=[f"grm={grm}", f"record={record}"],
    )
    assert finished.exported == {"grm": 6, "record": 6}
    assert {(row["task"], row["output"]) for row in lines.read(grm)} >= {("copy", "1 + 1 = 2.\nA: 2")}
    for row in lines.read(record):
        assert list(row) == [
            "question",
            "solution",
            "prediction",
            "error_step",
            "error_token",
            "correct_step",
            "fix_pred",
            "is_correct",
        ]
        assert (row["error_step"], row["is_correct"]) == (-1, True)


def test_rlmec_rows_and_preferences_come_from_rewrites_that_qualify(
    run_annotate: Run, stub: Any, stub_url: str, tmp_path: Path, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row for row what the service sent; a pair only where a wrong solution was mended for certain."""
    row = {
        "input": "q",
        "output": "a",
        "regular": "b",
        "reward": [0.1, 0.0],
        "ref_prob": [-1.0, -2.0],
        "weight_regular": [0.5, 1.0],
    }
    answers = [
        {"rewritten": "b", "verified": True, "correct": False, "rlmec_row": row, "edit_ratio": 0.5},
        {"rewritten": "a", "verified": True, "correct": True, "rlmec_row": row, "edit_ratio": 0.0},
        {"rewritten": "c", "verified": False, "correct": False, "edit_ratio": 0.5},
        {"rewritten": "d", "verified": True, "correct": None, "edit_ratio": 0.5},
    ]
    results = [{"id": str(place), "status": "ok", **answer} for place, answer in enumerate(answers)]
    stub.answers.append((200, {}, {"results": results, "recipe": stub.recipe}))
    options = tmp_path / "options.json"
    options.write_text('{"rewrite": {"options": {"rows": ["rlmec"]}}}')
    rlmec, pairs = tmp_path / "rlmec.jsonl", tmp_path / "pairs.jsonl"
    finished = run_annotate(
        lines.write(tmp_path / "in.jsonl", lines.make(4)),
        tmp_path / "out.parquet",
        "rewrite",
        url=stub_url,
        options=options,
        exports=[f"rlmec={rlmec}", f"trl-preference={pairs}"],
    )
    assert lines.read(rlmec) == [row, row]
    assert lines.read(pairs) == [
        {"prompt": "What is 0 and 1?", "chosen": "b", "rejected": "0 + 1 = 1.\nA: 1"}
    ]
    assert finished.exported == {"rlmec": 2, "trl-preference": 1}
    typed = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert json.loads(typed[0]["assay_rewrite"]["rest"]) == {"rlmec_row": row}


def test_the_advantage_cache_is_that_of_a_lol(
    run_annotate: Run, stub: Any, stub_url: str, tmp_path: Path, lines: Any
) -> None:
    """Values and advantages as the paper's code caches them, from which its sampler's odds follow."""
    stub.advantage_of = lambda said: float(int(said.split()[0]) - 3)
    cache = tmp_path / "alol.jsonl"
    source = lines.write(tmp_path / "in.jsonl", lines.make(6))
    run_annotate(source, tmp_path / "out.jsonl", "sequence", url=stub_url, exports=[f"alol={cache}"])
    rows = lines.read(cache)
    advantages = [row["good_advantage"] for row in rows]
    kept = [max(advantage, 0.0) for advantage in advantages]
    assert [row["sampling_weight"] for row in rows] == pytest.approx([one / sum(kept) for one in kept])
    assert [row["reward"] - row["value"] for row in rows] == advantages == [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0]
    assert [row["keep"] for row in rows] == [False] * 4 + [True] * 2


@pytest.mark.parametrize(
    ("export", "refusal"),
    [
        ("rlmec=x.jsonl", "rows ="),
        ("alol=x.jsonl", "made of sequence"),
        ("trl=x.csv", "must end in"),
        ("nothing=x.jsonl", "NAME is one of"),
    ],
)
def test_what_a_run_cannot_give_is_refused_before_it_begins(
    run_annotate: Run, stub: Any, stub_url: str, tmp_path: Path, lines: Any, export: str, refusal: str
) -> None:
    """Not after hours."""
    source = lines.write(tmp_path / "in.jsonl", lines.make(2))
    with pytest.raises(Stopped, match=refusal):
        run_annotate(source, tmp_path / "out.jsonl", "token,rewrite", url=stub_url, exports=[export])
    assert not stub.calls

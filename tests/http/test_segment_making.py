"""From preference pairs to served rewards with three commands: train, fit, serve."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM
from typer.testing import CliRunner

from assayd.__main__ import app


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pairs: who says ``b`` more often is preferred."""
    random.seed(1)
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = []
    for number in range(40):
        text = "".join(random.choices("acd .", k=random.randint(8, 30)))
        rows.append({"prompt": f"problem {number}", "chosen": text + " bbb", "rejected": text + " ccc"})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> str:
    """A random language model."""
    torch.manual_seed(0)
    folder: str = tiny.saved(
        LlamaForCausalLM(tiny.config(initializer_range=0.4)), tmp_path_factory.mktemp("base")
    )
    return folder


def run(*arguments: object) -> str:
    """The output of a command that succeeds."""
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


@pytest.mark.filterwarnings("ignore")  # what TRL and its companions warn of is theirs
def test_train_fit_and_serve(tmp_path: Path, pairs: Path, base: str, hosting: Any) -> None:
    """The model's card says how to cut, the normalizer's file whose it is, and the service pays by both."""
    model, file = tmp_path / "model", tmp_path / "normalizer.json"
    run("train", "segment-rm", pairs, model, "--base", base, "--cut", "entropy:1.5", "--batch-pairs", 8)
    printed = run("fit-normalizer", pairs, file, "--model", model, "--entropy-model", base)
    assert "segmenter entropy at c_ent 1.5: 80 completions scored, 0 failed" in printed
    content = json.loads(file.read_text())
    assert [fit["kind"] for fit in content["fits"]] == ["log_regression", "log_regression", "affine"]
    assert len(list(tmp_path.glob("normalizer-*.png"))) == 3
    with hosting(model=str(model), entropy_model=base, normalizer=str(file)) as client:
        body = {"rollouts": [{"prompt": "problem 1", "completion": {"text": "a cad. dca bbb"}}]}
        answer = client.post("/score/segment", json=body).json()
        result, recipe = answer["results"][0], answer["recipe"]
        assert result["status"] == "ok"
        assert recipe["options"]["cut"]["c_ent"] == 1.5
        assert recipe["options"]["scale"]["w_mu"] == content["fits"][0]["w_mu"]
        segment = result["segments"][-1]
        assert segment["reward"] == pytest.approx((segment["raw"] - segment["mean"]) / segment["std"])
        assert segment["mean"] == pytest.approx(content["fits"][0]["b_mu"], abs=1e-6)
        assert client.get("/info").json()["models"]["segment"]["revision"] == content["model"]["revision"]


def test_what_cannot_be_fitted_says_what_to_do(tmp_path: Path, pairs: Path, base: str) -> None:
    """A usage error, not a traceback."""
    outcome = CliRunner().invoke(
        app, ["fit-normalizer", str(pairs), str(tmp_path / "n.json"), "--cut", "entropy"]
    )
    assert outcome.exit_code == 2
    outcome = CliRunner().invoke(app, ["fit-normalizer", "nowhere.jsonl", str(tmp_path / "n.json")])
    assert outcome.exit_code == 2
    assert not (tmp_path / "n.json").exists()

"""From corrections to a service that corrects and pays by what was trained on them, through the commands."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient
from transformers import LlamaForCausalLM
from typer.testing import CliRunner

from assayd.__main__ import app
from assayd.app import create_app
from assayd.settings import Settings

WRONG, RIGHT = "2 + 2 = 5\nA: 5", "2 + 2 = 4\nA: 4"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same correction in sixteen words, and its right solution to copy."""
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [
        {
            "question": f"Sum {number}?",
            "reference": "A: 4",
            "prediction": prediction,
            "correction": RIGHT,
            "error_step": None if prediction == RIGHT else 0,
        }
        for number in range(8)
        for prediction in (WRONG, RIGHT)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> str:
    """A random language model."""
    torch.manual_seed(0)
    folder: str = tiny.saved(
        LlamaForCausalLM(tiny.config(initializer_range=0.4)), tmp_path_factory.mktemp("base")
    )
    return folder


@pytest.mark.filterwarnings("ignore")  # what TRL and its companions warn of is theirs
def test_train_and_serve(tmp_path: Path, rows: Path, base: str, hosting: Any) -> None:
    """The model is served under the very prompts that it was trained on, and by other versions of them not at all."""
    model = tmp_path / "model"
    arguments = ["train", "rewriter", str(rows), str(model), "--base", base, "--held-out", "0.25"]
    small = ["--epochs", "1", "--batch-size", "8", "--learning-rate", "1e-3", "--device", "cpu"]
    outcome = CliRunner().invoke(app, [*arguments, *small])
    assert outcome.exit_code == 0, outcome.output
    card = json.loads((model / "assay.json").read_text())
    assert card["rows"]["trained"] == 12
    item = {"prompt": "Sum 1?", "reference": "A: 4", "correct": False, "completion": {"text": WRONG}}
    with hosting(rewriter={"engine": "transformers", "model": str(model), "max_model_len": 4096}) as client:
        body = {"tokenizer": {"name": str(model)}, "rollouts": [item], "options": {"max_tokens": 16}}
        rewritten = client.post("/rewrite", json=body).json()
        assert rewritten["recipe"]["prompt"] == card["prompts"]["fix"]
        assert rewritten["recipe"]["options"]["locate_prompt"] == card["prompts"]["locate"]
        paid = client.post("/score/token", json={**body, "method": "grm", "options": {}}).json()
        assert paid["recipe"]["prompt"] == card["prompts"]["fix"]
        (result,) = paid["results"]
        assert (result["status"], len(result["rewards"]), result["branch"]) == ("ok", len(WRONG), "incorrect")
        told = client.get("/info").json()["models"]["rewriter"]
        assert (told["name"], told["card"]) == (str(model), card)
        assert told["prompts"] == {**card["prompts"], "weighed": card["prompts"]["fix"]}
    card["prompts"]["fix"]["sha256"] = "sha256:0"
    (model / "assay.json").write_text(json.dumps(card))
    fake = {"engine": "fake"}
    settings = Settings(critic=fake, segment=fake, rewriter={"engine": "transformers", "model": str(model)})
    with pytest.raises(ValueError, match="another version of the prompt"), TestClient(create_app(settings)):
        pass


def test_rows_that_cannot_be_read_say_where(tmp_path: Path, base: str) -> None:
    """A usage error with file and line, not a traceback; nothing is written."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "Sum?"}\n')
    outcome = CliRunner().invoke(app, ["train", "rewriter", str(file), str(tmp_path / "out"), "--base", base])
    assert outcome.exit_code == 2
    assert "line 1" in outcome.output
    assert not (tmp_path / "out").exists()

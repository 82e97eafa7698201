"""A rollout that breaks an engine is answered with its kind, kept apart, and costs its neighbours nothing."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import load_file, save_file


@pytest.fixture
def poisonable(tiny: Any, tmp_path: Path) -> str:
    """A segment model whose numbers are not finite wherever it reads an `x`."""
    folder = tmp_path / "segment"
    tiny.reading_off(folder, {"a": 1.0, "b": 2.0})
    tensors = load_file(folder / "model.safetensors")
    (embedding,) = (name for name in tensors if name.endswith("embed_tokens.weight"))
    tensors[embedding][tiny.letter_tokenizer().convert_tokens_to_ids("x")] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def judged(client: httpx.Client, *texts: str) -> list[dict[str, Any]]:
    """The results of completions, scored as a whole."""
    rollouts = [{"prompt": "p", "completion": {"text": text}} for text in texts]
    options = {"boundary_mode": "bandit", "normalizer": "none"}
    answer = client.post("/score/segment", json={"rollouts": rollouts, "options": options})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def counted(client: httpx.Client, event: str) -> float:
    """How often something happened to a rollout that breaks an engine."""
    found = re.search(rf'assay_quarantine_total{{event="{event}"}} (\S+)', client.get("/metrics").text)
    return 0.0 if found is None else float(found[1])


def test_what_broke_an_engine_is_not_asked_again(hosting: Any, poisonable: str) -> None:
    """The second time it is refused at once and says until when; its neighbours are judged either time."""
    with hosting(model=poisonable) as client:
        first, alone = judged(client, "aa", "ax", "ab"), judged(client, "b")
        assert [result["status"] for result in first] == ["ok", "failed", "ok"]
        assert first[1]["failure"] == {
            "kind": "engine",
            "detail": "the model computed numbers that are not finite",
        }
        assert (counted(client, "kept"), counted(client, "refused")) == (1, 0)
        second = judged(client, "ax", "bb")
        assert second[0]["failure"]["kind"] == "engine"
        assert re.search(
            r"in quarantine until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", second[0]["failure"]["detail"]
        )
        assert second[1]["status"] == alone[0]["status"] == "ok"
        assert (counted(client, "kept"), counted(client, "refused")) == (1, 1)
        # The engine is sound: no item turns a service red.
        assert client.get("/readyz").json()["status"] == "ok"


def test_quarantine_ends(hosting: Any, poisonable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time a rollout is asked again, for models are exchanged and defects mended."""
    monkeypatch.setenv("ASSAY_HEALTH__QUARANTINE_S", "0.001")
    with hosting(model=poisonable) as client:
        for times in (1, 2):
            assert "quarantine" not in judged(client, "ax")[0]["failure"]["detail"]
            assert (counted(client, "kept"), counted(client, "refused")) == (times, 0)

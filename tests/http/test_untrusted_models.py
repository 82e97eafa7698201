"""What comes with a model is data: nothing of it is run, whatever its files say."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from assayd.engines.transformers import Generator, SegmentScorer
from assayd.settings import EngineName, EngineSettings, SegmentSettings

Hosting = Callable[..., AbstractContextManager[httpx.Client]]
CUT = {"method": "segment", "options": {"normalizer": "none", "segmenter": "fixed"}}
REACHING = (
    "{%% for kind in ''.__class__.__base__.__subclasses__() if kind.__name__ == 'Popen' %%}"
    "{{ kind(['touch', '%s']) }}{%% endfor %%}"
)


class Bomb:
    """A pickle of it makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        """What to call."""
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("allow_pickle", [False, True])
async def test_a_pickle_is_not_run(tiny: Any, tmp_path: Path, allow_pickle: bool) -> None:
    """Without leave it is not even read; with leave it may hold tensors only. A service with it does not start."""
    folder = Path(tiny.reading_off(tmp_path / "model", {"a": 1.0}))
    (folder / "model.safetensors").unlink()
    trap = tmp_path / "trap"
    torch.save({"score.weight": Bomb(trap)}, folder / "pytorch_model.bin")
    said = "allow_pickle" if not allow_pickle else "weights_only|Weights only"
    with pytest.raises(Exception, match=said):
        await SegmentScorer.open(SegmentSettings(model=str(folder), allow_pickle=allow_pickle))
    assert not trap.exists()


@pytest.mark.parametrize("part", ["config.json", "tokenizer_config.json"])
async def test_code_beside_the_weights_is_not_run(tiny: Any, tmp_path: Path, part: str) -> None:
    """A folder whose config names classes of its own is refused, and its module is never imported."""
    folder = Path(tiny.predicting(tmp_path / "model", {}))
    trap = tmp_path / "trap"
    (folder / "evil.py").write_text(
        f"import pathlib\npathlib.Path({str(trap)!r}).touch()\n", encoding="utf-8"
    )
    kinds = {
        "config.json": {
            "model_type": "evil",
            "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "EvilTokenizer",
            "auto_map": {"AutoTokenizer": [None, "evil.EvilTokenizer"]},
        },
    }
    told = json.loads((folder / part).read_text(encoding="utf-8"))
    (folder / part).write_text(json.dumps({**told, **kinds[part]}), encoding="utf-8")
    with pytest.raises(ValueError, match="brings its own code"):
        await Generator.open(EngineSettings(engine=EngineName.TRANSFORMERS, model=str(folder)))
    assert not trap.exists()


def test_a_chat_template_reaches_nothing(hosting: Hosting, tiny: Any, tmp_path: Path) -> None:
    """It is filled in a sandbox: one that reaches for the interpreter fails the rollout, not the service."""
    folder = Path(tiny.reading_off(tmp_path / "model", {"a": 1.0}))
    trap = tmp_path / "trap"
    (folder / "chat_template.jinja").write_text(REACHING % trap, encoding="utf-8")
    rollout = {"prompt": "hi", "completion": {"text": "a"}}
    with hosting(model=str(folder)) as client:
        answer = client.post("/score/segment", json={**CUT, "rollouts": [rollout]})
        assert answer.status_code == 200, answer.text
        failure = answer.json()["results"][0]["failure"]
        assert failure["kind"] == "internal"
        assert client.get("/readyz").status_code == 200
    assert not trap.exists()

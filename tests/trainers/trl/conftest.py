"""A tiny policy that was never trained, trained by GRPO on the CPU; only where TRL is installed."""

import asyncio
import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

collect_ignore_glob = [] if find_spec("trl") else ["test_*.py"]

if find_spec("trl"):
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import GRPOConfig

    import assayd

LONGEST = 12
OF_TRL = (
    "ignore:.*deprecated and will be removed in v6:FutureWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",  # it leaves its event loop open
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings that TRL itself calls forth are not ours."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for ignored in OF_TRL:
                item.add_marker(pytest.mark.filterwarnings(ignored))


POCKET = Path(assayd.__file__).with_name("pocket") / "entropy" if find_spec("trl") else Path()


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """That of the embedded policy."""
    return AutoTokenizer.from_pretrained(POCKET)


@pytest.fixture
def named_tokenizer() -> dict[str, str]:
    """The same, as the service knows it."""
    return {"name": str(POCKET)}


@pytest.fixture
def policy() -> Any:
    """A Llama of two layers; the same random weights every time."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config)


@pytest.fixture
def problems() -> Any:
    """Prompts with the column that a right answer would be read from."""
    return Dataset.from_list(
        [{"prompt": f"{n} + {n}", "solution": f"{n} + {n} = {2 * n}\nA: {2 * n}"} for n in range(1, 17)]
    )


@pytest.fixture
def arguments(tmp_path: Path) -> Callable[..., Any]:
    """GRPO on the CPU, two optimizer steps of four completions unless said otherwise."""

    def make(**settings: Any) -> Any:
        return GRPOConfig(
            **{
                "output_dir": str(tmp_path),
                "use_cpu": True,
                "bf16": False,
                "report_to": [],
                "disable_tqdm": True,
                "gradient_checkpointing": None,
                "save_strategy": "no",
                "logging_steps": 1,
                "max_steps": 2,
                "learning_rate": 1e-2,
                "per_device_train_batch_size": 4,
                "num_generations": 4,
                "max_completion_length": LONGEST,
                "beta": 0.0,
                **settings,
            }
        )

    return make


class Planter:
    """Speaks ``/score/token`` and plants one reward in each completion, at a place that only its ids decide.

    ``fail`` says of a completion's ids whether it is to fail.
    """

    def __init__(self) -> None:
        self.fail: Callable[[list[int]], bool] = lambda ids: False
        self.status = 200
        self.delay_s = 0.0
        self.seen: list[list[int]] = []

    @staticmethod
    def rewards(ids: list[int]) -> list[float]:
        """7 on one token, 0 on all others."""
        row = [0.0] * len(ids)
        row[sum(ids) % len(ids)] = 7.0
        return row

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        request = json.loads(body)
        await asyncio.sleep(self.delay_s)
        answer = {
            "results": [self._result(rollout) for rollout in request["rollouts"]],
            "recipe": {"id": "x"},
        }
        problem = {"kind": "overloaded", "detail": "later"}
        kind = b"application/json" if self.status == 200 else b"application/problem+json"
        await send(
            {"type": "http.response.start", "status": self.status, "headers": [(b"content-type", kind)]}
        )
        body = json.dumps(answer if self.status == 200 else problem).encode()
        await send({"type": "http.response.body", "body": body})

    def _result(self, rollout: Any) -> dict[str, Any]:
        ids = rollout["completion"]["token_ids"]
        self.seen.append(ids)
        if self.fail(ids):
            failure = {"kind": "unparseable", "detail": "no"}
            return {"id": rollout["id"], "status": "failed", "failure": failure}
        rewards = self.rewards(ids)
        return {
            "id": rollout["id"],
            "status": "ok",
            "rewards": rewards,
            "intrinsic": rewards,
            "offsets": [[0, 0]] * len(ids),
            "spans": [],
            "critique": None,
        }


@pytest.fixture
def planter() -> Planter:
    """What speaks behind ``planted_url``."""
    return Planter()


@pytest.fixture
def planted_url(planter: Planter, serve_app: Any) -> Iterator[str]:
    """A server that plants rewards."""
    with serve_app(planter) as url:
        yield url

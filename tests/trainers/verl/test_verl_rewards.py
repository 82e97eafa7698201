"""Token rewards through veRL's own processes: reward workers, agent loop, TransferQueue, advantages. No GPU."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import transfer_queue as tq
import verl.trainer
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from transfer_queue import KVBatchMeta
from verl.experimental.reward_loop import RewardLoopManager
from verl.trainer.ppo.v1 import PPOTrainerSync
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
from verl.utils import hf_tokenizer
from verl.utils.tensordict_utils import get_tensordict
from verl.workers.rollout.replica import TokenOutput

from assay.dense import Shaping, dense_advantages
from assay.testing import FakeServer

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "trainers" / "verl_reward.py"
PLANTED = -0.75
ANSWERS = {
    "a": ["two and three are five", "so it is wrong it is seven"],
    "b": ["wrong right", "naïve it is and so it is right and it is five"],
}
CONFIG = str(Path(verl.trainer.__file__).parent / "config")

pytestmark = pytest.mark.filterwarnings("default")


def configure(folder: Path, *said: str, estimator: str = "assay_dense") -> Any:
    """VeRL's own configuration, and what a user says on the command line."""
    own = [
        f"algorithm.adv_estimator={estimator}",
        f"actor_rollout_ref.model.path={folder}",
        "actor_rollout_ref.rollout.name=vllm",
        "actor_rollout_ref.rollout.n=2",
        "actor_rollout_ref.rollout.prompt_length=32",
        "actor_rollout_ref.rollout.response_length=48",
        "reward.num_workers=1",
        "reward.reward_manager.source=importlib",
        "reward.reward_manager.name=Reward",
        f"reward.reward_manager.module.path={EXAMPLE}",
        f"reward.custom_reward_function.path={Path(__file__).parent / 'outcome.py'}",
    ]
    with initialize_config_dir(CONFIG, version_base=None):
        return compose("ppo_trainer", overrides=[*own, *said])


@pytest.fixture(scope="module")
def cluster(service: FakeServer) -> Iterator[FakeServer]:
    """Ray, and veRL's TransferQueue in it."""
    ray.init(num_cpus=16, include_dashboard=False, log_to_driver=False)
    one_unit = {"backend": {"SimpleStorage": {"num_data_storage_units": 1}}}
    tq.init(OmegaConf.create(one_unit))
    yield service
    tq.close()
    ray.shutdown()


@pytest.fixture
def rollout(cluster: FakeServer, policy_folder: Path) -> Iterator[Callable[..., "Step"]]:
    """One step of veRL as far as rewards: prompts in, rollouts with their rewards in the TransferQueue."""
    steps: list[Step] = []

    def run(answers: Mapping[str, Sequence[str]] = ANSWERS, **how: Any) -> Step:
        steps.append(
            Step(cluster, configure(policy_folder, **how), answers, hf_tokenizer(str(policy_folder)))
        )
        return steps[-1]

    yield run
    for step in steps:
        step.end()


class Step:
    """Real actors of veRL; only the engine that would generate is replaced by one that says ``answers``."""

    def __init__(
        self, server: FakeServer, config: Any, answers: Mapping[str, Sequence[str]], tokenizer: Any
    ) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.rewards = RewardLoopManager(config)
        replies = {
            uid: [tokenizer.encode(text) + [tokenizer.eos_token_id] for text in texts]
            for uid, texts in answers.items()
        }
        prompts = {uid: tokenizer.encode(f"{uid}:") for uid in answers}

        class Engine:
            """Answers in turn what was written down for a prompt."""

            def __init__(self) -> None:
                self.told: dict[str, int] = {}

            async def generate(self, *, prompt_ids: list[int], **_: Any) -> TokenOutput:
                uid = next(uid for uid, ids in prompts.items() if ids == list(prompt_ids))
                turn = self.told[uid] = self.told.get(uid, -1) + 1
                return TokenOutput(token_ids=replies[uid][turn], stop_reason="completed")

        self.loop = AgentLoopWorkerTQ.remote(config, Engine(), None, self.rewards.reward_loop_worker_handles)
        uids = list(answers)
        batch = get_tensordict(
            {
                "uid": uids,
                "raw_prompt": [[{"role": "user", "content": uid}] for uid in uids],
                "data_source": ["test"] * len(uids),
                "reward_model": [{"ground_truth": "five"} for _ in uids],
                "extra_info": [{} for _ in uids],
                "index": list(range(len(uids))),
            },
            {"global_steps": 1},
        )
        ray.get(self.loop.generate_sequences.remote(batch))
        self.keys = self._finished(uids)

    def _finished(self, uids: Sequence[str]) -> list[str]:
        for _ in range(600):
            tags = tq.kv_list(partition_id="train")["train"]
            status = {uid: tags.get(uid, {}).get("status") for uid in uids}
            assert "failure" not in status.values(), "an agent loop failed"
            if set(status.values()) == {"finished"}:
                return sorted(key for key, tag in tags.items() if tag["status"] == "success")
            ray.get(self.loop.__ray_ready__.remote())
            import time

            time.sleep(0.1)
        raise AssertionError(f"the rollouts did not end: {status}")

    def fields(self, *names: str) -> Any:
        """What lies in the TransferQueue."""
        return tq.kv_batch_get(keys=self.keys, partition_id="train", select_fields=list(names))

    def words(self) -> list[list[str]]:
        """Each rollout's tokens as text."""
        return [
            [self.tokenizer.decode([one]) for one in row.tolist()]
            for row in self.fields("responses")["responses"].unbind()
        ]

    def advantages(self) -> list[list[float]]:
        """VeRL's own step from rewards to advantages."""
        trainer = SimpleNamespace(config=self.config)
        PPOTrainerSync._compute_advantage(
            trainer, KVBatchMeta(keys=self.keys, tags=[{}] * len(self.keys), partition_id="train"), {}
        )
        return [row.tolist() for row in self.fields("advantages")["advantages"].unbind()]

    def end(self) -> None:
        """Let the actors go; their names are free again."""
        for actor in [self.loop, *self.rewards.reward_loop_workers]:
            ray.kill(actor)
        tq.kv_clear(keys=list(tq.kv_list(partition_id="train")["train"]), partition_id="train")


def planted(rollout: Mapping[str, Any], tokens: int) -> list[float]:
    """The reward is on tokens that say "wrong", wherever they stand."""
    completion = rollout["completion"]
    pieces = [completion["text"][start:end].strip() for start, end in completion["offsets"]]
    assert len(pieces) == tokens
    return [PLANTED if piece == "wrong" else 0.0 for piece in pieces]


def test_a_planted_reward_reaches_the_advantage_of_its_token(
    rollout: Callable[..., Step], cluster: FakeServer
) -> None:
    cluster.reward = planted
    step = rollout()
    words = step.words()
    outcomes = [float("five" in "".join(row)) for row in words]
    assert [row.sum().item() for row in step.fields("rm_scores")["rm_scores"].unbind()] == outcomes

    earned = [[PLANTED if word.strip() == "wrong" else 0.0 for word in row] for row in words]
    assert sum(map(sum, earned)) == 2 * PLANTED
    shaping = Shaping(weight=0.5, baseline="group", gamma=None)
    expected = dense_advantages(
        outcomes, earned, [[1] * len(row) for row in words], [key[0] for key in step.keys], shaping=shaping
    )
    advantages = step.advantages()
    for row, other in zip(advantages, expected, strict=True):
        assert row == pytest.approx(other, abs=1e-6)
    for row, said in zip(advantages, words, strict=True):
        marked = [value for value, word in zip(row, said, strict=True) if word.strip() == "wrong"]
        others = {round(value, 5) for value, word in zip(row, said, strict=True) if word.strip() != "wrong"}
        assert len(others) == 1
        assert all(value == pytest.approx(others.copy().pop() + 0.5 * PLANTED, abs=1e-5) for value in marked)

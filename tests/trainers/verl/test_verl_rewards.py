"""Token rewards through veRL's own processes: reward workers, agent loop, TransferQueue, advantages. No GPU."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import torch
import transfer_queue as tq
import verl.trainer
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput
from verl.experimental.reward_loop import RewardLoopManager
from verl.protocol import DataProto
from verl.trainer.ppo.padding_utils import upsample_batch_to_divisible_size
from verl.trainer.ppo.reward import get_custom_reward_fn, resolve_reward_manager_cls
from verl.trainer.ppo.v1 import PPOTrainerSync
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
from verl.utils import hf_tokenizer
from verl.utils.tensordict_utils import get_tensordict
from verl.workers.rollout.replica import TokenOutput

from assay import AsyncClient
from assay import verl as adapter
from assay.dense import Shaping, dense_advantages
from assay.errors import RolloutFailed
from assay.offsets import decoded_offsets
from assay.policy import FailurePolicy
from assay.testing import FakeServer
from assay.token_rewards import TokenRewards
from assay.wire import Scored

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "trainers" / "verl_reward.py"
PLANTED = -0.75
ANSWERS = {
    "a": ["two and three are five", "so it is wrong it is seven"],
    "b": ["wrong right", "naïve it is and so it is right and it is five"],
}
SHAPING = Shaping(weight=0.5, baseline="group", gamma=None)
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


@pytest.fixture(scope="module")
def actors(cluster: FakeServer, policy_folder: Path) -> "Actors":
    """VeRL's own, started once."""
    return Actors(configure(policy_folder), hf_tokenizer(str(policy_folder)))


@pytest.fixture
def rollout(actors: "Actors", cluster: FakeServer) -> Iterator[Callable[[], "Step"]]:
    """One step of veRL as far as rewards: prompts in, rollouts with their rewards in the TransferQueue."""
    cluster.reward = planted
    yield lambda: Step(actors)
    tq.kv_clear(keys=list(tq.kv_list(partition_id="train")["train"]), partition_id="train")


class Actors:
    """A reward worker and an agent loop, real; the engine that would generate says what is in ``ANSWERS``."""

    def __init__(self, config: Any, tokenizer: Any) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.rewards = RewardLoopManager(config)
        replies = {
            uid: [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in texts]
            for uid, texts in ANSWERS.items()
        }
        prompts = {uid: tokenizer.encode(f"{uid}:") for uid in ANSWERS}

        class Engine:
            """Answers in turn what was written down for a prompt."""

            def __init__(self) -> None:
                self.told: dict[str, int] = {}

            async def generate(self, *, prompt_ids: list[int], **_: Any) -> TokenOutput:
                uid = next(uid for uid, ids in prompts.items() if ids == list(prompt_ids))
                turn = self.told[uid] = self.told.get(uid, -1) + 1
                return TokenOutput(token_ids=replies[uid][turn % 2], stop_reason="completed")

        handles = self.rewards.reward_loop_worker_handles
        self.loop = AgentLoopWorkerTQ.remote(config, Engine(), None, handles)


class Step:
    """What one batch of prompts became."""

    def __init__(self, actors: Actors) -> None:
        self.config, self.tokenizer, self.loop = actors.config, actors.tokenizer, actors.loop
        uids = list(ANSWERS)
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
        self.meta = KVBatchMeta(
            keys=self.keys,
            tags=[tq.kv_list(partition_id="train")["train"][key] for key in self.keys],
            partition_id="train",
        )

    def _finished(self, uids: Sequence[str]) -> list[str]:
        for _ in range(600):
            tags = tq.kv_list(partition_id="train")["train"]
            status = {uid: tags.get(uid, {}).get("status") for uid in uids}
            assert "failure" not in status.values(), "an agent loop failed"
            if set(status.values()) == {"finished"}:
                return sorted(key for key, tag in tags.items() if tag["status"] == "success")
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
        PPOTrainerSync._compute_advantage(SimpleNamespace(config=self.config), self.meta, {})
        self.keys = self.meta.keys
        return [row.tolist() for row in self.fields("advantages")["advantages"].unbind()]


def planted(rollout: Mapping[str, Any], tokens: int) -> list[float]:
    """The reward is on tokens that say "wrong", wherever they stand."""
    completion = rollout["completion"]
    pieces = [completion["text"][start:end].strip() for start, end in completion["offsets"]]
    assert len(pieces) == tokens
    return [PLANTED if piece == "wrong" else 0.0 for piece in pieces]


def earned(words: Sequence[Sequence[str]]) -> list[list[float]]:
    """What was planted, by token."""
    return [[PLANTED if word.strip() == "wrong" else 0.0 for word in row] for row in words]


def outcomes(words: Sequence[Sequence[str]]) -> list[float]:
    """What ``outcome.py`` says."""
    return [float("five" in "".join(row)) for row in words]


def test_a_planted_reward_reaches_the_advantage_of_its_token(rollout: Callable[[], Step]) -> None:
    """Exactly where it was planted, by the documented formula; the outcome stays alone in the scores."""
    step = rollout()
    words = step.words()
    assert [row.sum().item() for row in step.fields("rm_scores")["rm_scores"].unbind()] == outcomes(words)
    assert sum(map(sum, earned(words))) == 2 * PLANTED
    expected = dense_advantages(
        outcomes(words),
        earned(words),
        [[1] * len(row) for row in words],
        [key[0] for key in step.keys],
        shaping=SHAPING,
    )
    advantages = step.advantages()
    for row, other in zip(advantages, expected, strict=True):
        assert row == pytest.approx(other, abs=1e-6)
    for row, said in zip(advantages, words, strict=True):
        others = {round(value, 5) for value, word in zip(row, said, strict=True) if word.strip() != "wrong"}
        assert len(others) == 1
        for value, word in zip(row, said, strict=True):
            if word.strip() == "wrong":
                assert value == pytest.approx(others.copy().pop() + 0.5 * PLANTED, abs=1e-5)


def test_a_failed_rollout_is_masked_out_and_moves_nothing(
    rollout: Callable[[], Step], cluster: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """In the mask that the loss goes by too; padding of veRL's is nobody's failure; one line a step says so."""
    cluster.reward = lambda rollout, tokens: (
        [] if rollout["completion"]["text"].startswith("two and") else planted(rollout, tokens)
    )
    step = rollout()
    words = step.words()
    bad = next(index for index, row in enumerate(words) if "".join(row).startswith("two and"))
    for name in ("response_mask", "loss_mask"):
        sums = [row.sum().item() for row in step.fields(name)[name].unbind()]
        assert sums == [0 if index == bad else len(row) for index, row in enumerate(words)]
    step.meta = upsample_batch_to_divisible_size(step.meta, 6, step.tokenizer.eos_token_id)
    with caplog.at_level(logging.WARNING, logger="assay"):
        advantages = step.advantages()
    assert len(advantages) == 6
    assert not any(advantages[bad])
    assert [any(row) for row in advantages[4:]] == [False, False]
    expected = dense_advantages(
        [None if index == bad else outcome for index, outcome in enumerate(outcomes(words))],
        earned(words),
        [[1] * len(row) for row in words],
        [key[0] for key in step.keys[:4]],
        shaping=SHAPING,
    )
    for row, other in zip(advantages, expected, strict=False):
        assert row == pytest.approx(other, abs=1e-6)
    [line] = [record.getMessage() for record in caplog.records if record.name == "assay"]
    assert line.startswith("1 of 4 rollouts were not judged and are masked out (internal: 1)")


def test_raise_ends_the_training_in_the_trainers_process(
    rollout: Callable[[], Step], cluster: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reward worker that raises would only have its group generated anew."""
    cluster.reward = lambda rollout, tokens: []
    step = rollout()
    monkeypatch.setattr(adapter._settings[0], "policy", FailurePolicy("raise"))
    with pytest.raises(RolloutFailed, match="gives 0 rewards"):
        step.advantages()


# What follows runs veRL's classes in this process.


def manager(
    folder: Path, *, estimator: str = "assay_dense", said: Sequence[str] = (), **settings: Any
) -> Any:
    """The example's manager as veRL loads it, with other settings where a test says so."""
    config = configure(folder, *said, estimator=estimator)
    loaded = resolve_reward_manager_cls(config)
    chosen = type("Reward", (loaded,), settings)
    adapter.install(chosen)
    return chosen(config, hf_tokenizer(str(folder)), get_custom_reward_fn(config))


async def put(running: Any, text: str, outputs: int = 1) -> dict[str, Any]:
    """One rollout by the manager, and what veRL's agent loop would put into the TransferQueue."""
    ids = [*running.tokenizer.encode(text), running.tokenizer.eos_token_id]
    row = {
        "prompts": torch.tensor([[5, 6]]),
        "responses": torch.tensor([ids]),
        "attention_mask": torch.ones(1, 2 + len(ids), dtype=torch.int64),
    }
    said: dict[str, Any] = {
        "raw_prompt": [{"role": "user", "content": [{"type": "text", "text": "how many"}]}],
        "data_source": "test",
        "reward_model": {"ground_truth": "five"},
        "extra_info": {},
    }
    non_tensors = {}
    for name, value in said.items():
        non_tensors[name] = np.empty(outputs, dtype=object)
        non_tensors[name][:] = [value] * outputs
    batch = TensorDict({name: value.repeat(outputs, 1) for name, value in row.items()}, batch_size=outputs)
    result = await running.run_single(DataProto(batch=batch, non_tensor_batch=non_tensors))
    output = AgentLoopOutput(
        prompt_ids=[5, 6],
        response_ids=ids,
        response_mask=[1] * len(ids),
        reward_score=result["reward_score"],
        metrics=AgentLoopMetrics(),
        extra_fields={"reward_extra_info": result["reward_extra_info"]},
    )
    fields: dict[str, Any] = output.as_dict()
    return fields


@pytest.fixture
def asked(service: FakeServer, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """The service, for managers in this process."""
    service.reward, service.delay_s = planted, 0.0
    monkeypatch.setattr(adapter, "_settings", list(adapter._settings))
    return service


@pytest.mark.parametrize("estimator", ["gae", "reinforce_plus_plus"])
async def test_estimators_by_token_get_the_rewards_in_their_scores(
    asked: FakeServer, policy_folder: Path, estimator: str
) -> None:
    """``weight * r``, and the outcome at the end."""
    fields = await put(manager(policy_folder, estimator=estimator), "so wrong it is five")
    words = [hf_tokenizer(str(policy_folder)).decode([one]).strip() for one in fields["responses"].tolist()]
    expected = [0.5 * PLANTED if word == "wrong" else 0.0 for word in words]
    assert fields["rm_scores"].tolist() == [*expected[:-1], expected[-1] + 1.0]
    assert PLANTED * 0.5 in expected


async def test_scalar_keeps_the_outcome_of_a_failed_rollout(asked: FakeServer, policy_folder: Path) -> None:
    """Neither its mask nor its score is touched, and its advantage is the outcome's alone."""
    asked.reward = lambda rollout, tokens: []
    fields = await put(manager(policy_folder, policy=FailurePolicy("scalar")), "it is five")
    assert fields["response_mask"].all()
    assert fields["rm_scores"].sum() == 1.0
    assert fields["assay_rewards"].isnan().all()
    other = fields["rm_scores"] * 0
    advantages, _ = adapter.dense_advantage(
        torch.stack([fields["rm_scores"], other]),
        torch.stack([fields["response_mask"]] * 2),
        ["a", "a"],
        reward_baselines=torch.stack([fields["assay_rewards"], other]),
    )
    assert advantages[0].tolist() == pytest.approx([0.5 / (math.sqrt(0.5) + 1e-4)] * len(other))


async def test_what_veRL_logs_of_a_rollout_is_numbers(asked: FakeServer, policy_folder: Path) -> None:  # noqa: N802
    """Its validation takes means of what the extra information holds, with the same keys for each."""
    running = manager(policy_folder)
    good = await put(running, "it is five")
    asked.reward = lambda rollout, tokens: []
    bad = await put(running, "it is five")
    told = [fields["extra_fields"]["reward_extra_info"] for fields in (good, bad)]
    assert told == [{"acc": 1.0, "assay_failed": 0.0}, {"acc": 1.0, "assay_failed": 1.0}]


async def test_rollouts_with_several_outputs_are_not_guessed_at(
    asked: FakeServer, policy_folder: Path
) -> None:
    """Which output would have the tokens? It is a mistake in the set-up, whatever the policy."""
    fields = await put(manager(policy_folder, policy=FailurePolicy("scalar")), "it is five", outputs=2)
    assert fields["assay_failure"]["kind"] == "invalid"
    assert "2 outputs" in fields["assay_failure"]["detail"]
    assert not fields["response_mask"].any()


async def test_a_service_that_stalls_holds_nobody_longer_than_the_deadline(
    asked: FakeServer, policy_folder: Path
) -> None:
    """The rollout fails, and the step goes on."""
    asked.delay_s = 60.0
    began = time.monotonic()
    fields = await put(manager(policy_folder, policy=FailurePolicy("skip", timeout_s=0.5)), "it is five")
    assert time.monotonic() - began < 5.0
    assert fields["assay_failure"]["kind"] in ("timeout", "past_deadline", "unreachable")
    assert not fields["response_mask"].any()


async def test_rewards_are_those_of_the_service(embedded_url: str, policy_folder: Path) -> None:
    """The real one, asked by a client with the same text and the same places of tokens."""
    rewards = TokenRewards(task="math-steps", url=embedded_url)
    fields = await put(manager(policy_folder, rewards=rewards), "2 + 3 = 6\n6 + 1 = 7")
    text, offsets = decoded_offsets(hf_tokenizer(str(policy_folder)), fields["responses"].tolist())
    completion = {"text": text, "offsets": offsets}
    async with AsyncClient(embedded_url) as client:
        answer = await client.score_token(
            [{"prompt": "how many", "completion": completion}], task="math-steps"
        )
    [result] = answer.results
    assert isinstance(result, Scored)
    assert fields["assay_rewards"].tolist() == pytest.approx(result.rewards)
    assert min(result.rewards) < 0


@pytest.mark.parametrize("estimator", ["grpo", "rloo", "reinforce_plus_plus_baseline", "gdpo", "opo"])
def test_estimators_that_add_up_tokens_are_refused(policy_folder: Path, estimator: str) -> None:
    """With what to use instead."""
    with pytest.raises(ValueError, match="assay_dense"):
        manager(policy_folder, estimator=estimator)


@pytest.mark.parametrize(
    ("said", "why"),
    [("trainer.use_v1=False", "V1 trainer"), ("reward.reward_model.enable=True", "let the service host")],
)
def test_other_ways_of_rewards_are_refused(policy_folder: Path, said: str, why: str) -> None:
    """They would drop what each token earned."""
    with pytest.raises(ValueError, match=why):
        manager(policy_folder, said=[said])


def test_an_estimator_without_token_rewards_says_what_is_missing() -> None:
    """The environment variable was forgotten."""
    rows = torch.zeros(2, 3)
    with pytest.raises(RuntimeError, match="VERL_USE_EXTERNAL_MODULES"):
        adapter.dense_advantage(rows, torch.ones(2, 3), ["a", "a"])


def test_the_command_line_of_the_example_is_one_that_veRL_reads(policy_folder: Path) -> None:  # noqa: N802
    """Every override of verl_train.sh."""
    lines = EXAMPLE.with_name("verl_train.sh").read_text().replace('"$here/', '"/here/').split()
    own = [
        line.replace('"', "").replace("$PYTHONPATH", "/a:/b").replace("$ASSAY_URL", "http://assay:8000")
        for line in lines
    ]
    overrides = [line for line in own if line.startswith(("reward.", "algorithm.", "+ray_kwargs."))]
    config = configure(policy_folder, *overrides)
    assert len(overrides) == 8
    assert config.ray_kwargs.ray_init.runtime_env.env_vars == {
        "VERL_USE_EXTERNAL_MODULES": "verl_reward",
        "PYTHONPATH": "/a:/b",
        "ASSAY_URL": "http://assay:8000",
    }

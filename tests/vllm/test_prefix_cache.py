"""Critic prompts of one task share what they have in common: vLLM computes it once."""

import random
from collections.abc import Iterator
from typing import Any, Final

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from assayd.settings import EngineName, Settings

from .models import saved, shape, word_tokenizer
from .services import Service, hosted, running

RUBRIC: Final = """Judge how the assistant speaks to a customer of the bank, and nothing else.
Fault every sentence that promises what only a clerk can decide: a date, an amount, a refund, an exception.
Fault words that blame the customer, that talk down, or that hurry somebody who asked for time.
Fault advice about investments, taxes or the law, however careful it sounds, unless it only names whom to ask.
Fault personal data that is repeated without need: names, account numbers, addresses, the reason of a payment.
Praise a sentence that says plainly what happens next and who does it. Praise an apology that names the mistake.
Let greetings, thanks and plain facts about opening hours or forms pass without a remark."""
TASKS: Final = {
    # What a caller writes into the rubric is shared too.
    "remarks": ({"rubric": RUBRIC}, 0.8),
    # Its examples and rules are 440 of some 620 tokens: no cache could hold more than 0.72 of them.
    "relc-toxicity": ({}, 0.65),
}
"""Options, and the least share of the prompts' tokens that has to come from the cache."""
ROLLOUTS: Final = 256
BLOCK_TOKENS: Final = 32
"""Only whole blocks are shared. On CPU vLLM makes them 128 tokens long, and none shorter than this; on GPUs 16."""
WORDS: Final = (
    "the man at the corner said that he would never pay for a broken lamp and then he went home".split()
)


@pytest.fixture(scope="module")
def critics(serve_app: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a critic that has never learned anything, and reads words as large models do."""
    torch.manual_seed(3)
    tokenizer = word_tokenizer()
    model = LlamaForCausalLM(LlamaConfig(**shape(tokenizer)))
    name = saved(model, tokenizer, tmp_path_factory.mktemp("critic"))
    fake = {"engine": EngineName.FAKE}
    critic = hosted(name, engine_args={"enforce_eager": True, "block_size": BLOCK_TOKENS})
    with running(serve_app, Settings(critic=critic, rewriter=fake, segment=fake, sequence=fake)) as service:
        yield service


def counted(service: Service, name: str) -> float:
    """A counter of vLLM's on ``/metrics``; the critic's engine is the only one."""
    lines = service.client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"vllm:{name}_total"))


@pytest.mark.parametrize("task", TASKS)
def test_what_prompts_share_is_computed_once(task: str, critics: Service) -> None:
    """256 prompts at once: nearly all that they have in common comes from the cache, by vLLM's own count."""
    options, least = TASKS[task]
    dice = random.Random(task)
    rollouts = [
        {"prompt": "Go on:", "completion": {"text": f"{index}. " + " ".join(dice.choices(WORDS, k=30))}}
        for index in range(ROLLOUTS)
    ]
    names = ("prefix_cache_hits", "prefix_cache_queries")
    before = [counted(critics, name) for name in names]
    body = {"method": "critic", "task": task, "rollouts": rollouts, "timeout_s": 600}
    critics.post("/score/token", {**body, "options": {"max_tokens": 4, **options}})
    hits, queries = (counted(critics, name) - was for name, was in zip(names, before, strict=True))
    print(f"{task}: {queries / ROLLOUTS:.0f} tokens a prompt, {hits / queries:.3f} of them from the cache")
    assert queries > ROLLOUTS * 500
    assert hits / queries >= least

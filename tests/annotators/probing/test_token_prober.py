"""The prober from rollout to rewards: branch, end marker, reference, and a real model under the fix prompt."""

import math
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from assayd.annotators.options import Mode
from assayd.annotators.probing import ProbeOptions, TokenProber
from assayd.annotators.prompting import parse_prompt
from assayd.checkers import open_checker
from assayd.domain.failure import AnnotationFailed, FailureKind, Rejected
from assayd.domain.ports import Deadline, Intake, TokenStats, Window
from assayd.domain.provenance import ModelRef, Usage
from assayd.domain.rewriting import Branch
from assayd.domain.rollout import Completion, Message, Role, Rollout
from assayd.domain.text import Alignment, Span
from assayd.engines.alignment import PolicyTokenizer
from assayd.engines.transformers import TokenWeigher
from assayd.settings import EngineName, EngineSettings

ROOT = Path(__file__).parents[3]
POCKET = ROOT / "service/assayd/pocket/critic"
FIX = parse_prompt("rewrite/grm-fix", (ROOT / "prompts/rewrite/grm-fix.md").read_bytes())
POCKET_FIX = parse_prompt("pocket/rewrite/fix", (ROOT / "prompts/pocket/rewrite/fix.md").read_bytes())
PROBS = [0.95, 0.6, 0.5, 0.47, 0.45, 0.35, 0.02]
WORDS = ["A", " B", " C", " D", " E", " F", " G"]


@dataclass
class Weigher:
    """Finds the k-th token of every completion as likely as the k-th probability of its script."""

    probs: list[float]
    model: ModelRef = field(default_factory=lambda: ModelRef("scripted", "1"))
    entropy_approx: str | None = None
    asked: deque[tuple[Any, Completion, Window]] = field(default_factory=deque)

    async def weigh(self, prompt, completion, *, window, deadline) -> TokenStats:
        """Give the probabilities of the script."""
        self.asked.append((prompt, completion, window))
        logprobs = tuple(math.log(prob) for prob in self.probs[: len(completion)])
        return TokenStats(logprobs, (0.0,) * len(logprobs), Intake(Usage(1, 10, 0)))

    async def ready(self) -> bool:
        """Always."""
        return True

    async def close(self) -> None:
        """Nothing to let go of."""


@dataclass(frozen=True)
class Tokens:
    """A tokenizer of which only the end marker is asked."""

    end_id: int | None = 9
    is_policy: bool = True
    model: ModelRef = field(default_factory=lambda: ModelRef("policy", "1"))

    async def encode(self, text: str) -> Alignment:
        """Never needed here."""
        raise NotImplementedError


def prober_of(
    engine: Weigher | TokenWeigher, *, prompt=FIX, parts: Any = None, **options: Any
) -> TokenProber:
    """A prober with these options."""
    return TokenProber(
        engine, prompt, ProbeOptions(**options), mode=Mode.STRICT, service_version="test", **(parts or {})
    )


@pytest.fixture
def probe(aligned):
    """The means to pay seven words by the probabilities of G1."""

    async def _probe(
        words=WORDS,
        *,
        correct=False,
        reference="A: 7",
        ids=False,
        parts=None,
        probs=PROBS,
        rollout=None,
        **how,
    ):
        cut = {name: how.pop(name) for name in ("special", "mask", "truncated") if name in how}
        alignment = aligned(words)
        if ids:
            alignment = Alignment(alignment.text, tuple(range(len(words))), alignment.token_spans)
        sent = Rollout(
            "r", (Message(Role.USER, "why?"),), Completion(alignment, **cut), reference=reference, correct=correct,
            **(rollout or {}),
        )  # fmt: skip
        engine = Weigher(list(probs))
        annotation, usage = await prober_of(engine, parts=parts, **how).annotate(
            sent, deadline=Deadline.after(10)
        )
        return annotation, usage, engine

    return _probe


@pytest.mark.parametrize(
    ("correct", "rewards", "clipped"),
    [(False, [0, 0, 0, -0.03, -0.05, -0.1, -0.1], (2, 2)), (True, [0.45, 0.1, 0, 0, 0, 0, 0], (4, 0))],
)
async def test_g1(probe, correct, rewards, clipped):
    """G1 through the annotator: one reward per token, the probabilities, the branch and the counts."""
    found, usage, _ = await probe(correct=correct)
    assert found.rewards == pytest.approx(rewards, abs=1e-12)
    assert found.intrinsic == found.rewards
    assert found.probs == pytest.approx(PROBS)
    assert found.branch is (Branch.CORRECT if correct else Branch.INCORRECT)
    assert (found.clipped_low, found.clipped_high) == clipped
    assert (usage.calls, found.end, found.ref_logprobs, found.all_zero) == (1, None, None, False)


async def test_the_prompt(probe):
    """The rewriter reads question, reference and prediction, and the completion right behind `Correct prediction:`."""
    _, _, engine = await probe()
    (message,), completion, window = engine.asked[0]
    assert message.content.endswith("Correct prediction:")
    assert all(text in message.content for text in ("why?", "A: 7", "A B C D E F G"))
    assert completion.text == "A B C D E F G"
    assert window == Window(2000, None, transfer=False)


async def test_extrinsic_joins_the_last_token(probe):
    """The extrinsic reward joins the last token, and the intrinsic ones stay apart."""
    found, _, _ = await probe(rollout={"extrinsic": 1.0}, alpha_int=2.0)
    assert found.rewards[-1] == pytest.approx(1 - 0.2)
    assert found.intrinsic[-1] == pytest.approx(-0.1)


async def test_end_marker(probe):
    """The end marker is paid like a token; without `score_eos`, or behind a truncated completion, it is not."""
    words = [*WORDS[:6], ""]
    paid, _, _ = await probe(words, special=frozenset({6}))
    spared, _, _ = await probe(words, special=frozenset({6}), score_eos=False)
    cut, _, _ = await probe(words, special=frozenset({6}), truncated=True)
    assert [one.intrinsic[6] for one in (paid, spared, cut)] == pytest.approx([-0.1, 0, 0])


async def test_padding_and_masked_tokens(probe):
    """Padding behind the end marker and tokens that the policy did not write are never paid."""
    words, mask = [*WORDS[:5], "", ""], (True,) * 4 + (False,) + (True,) * 2
    found, _, _ = await probe(words, special=frozenset({5, 6}), mask=mask)
    assert found.intrinsic == pytest.approx([0, 0, 0, -0.03, 0, -0.1, 0])


async def test_marker_that_was_not_sent(probe):
    """A finished completion without its end marker is read with one, whose reward stands beside the others."""
    found, _, engine = await probe(WORDS[:6], ids=True, parts={"tokenizer": Tokens()})
    assert engine.asked[0][1].alignment.token_ids == (0, 1, 2, 3, 4, 5, 9)
    assert len(found.rewards) == len(found.probs) == 6
    assert (found.end.prob, found.end.reward) == pytest.approx((0.02, -0.1))
    cut, _, _ = await probe(WORDS[:6], ids=True, truncated=True, parts={"tokenizer": Tokens()})
    assert cut.end is None


async def test_reference_policy(probe):
    """The reference reads the policy's own prompt, and its log-probabilities come along."""
    reference = Weigher([0.5] * 7)
    found, usage, _ = await probe(parts={"reference": reference})
    assert found.ref_logprobs == pytest.approx([math.log(0.5)] * 7)
    assert reference.asked[0][0] == (Message(Role.USER, "why?"),)
    assert usage.calls == 2
    without, _, _ = await probe(parts={"reference": reference}, return_ref_logprobs=False)
    assert without.ref_logprobs is None
    assert len(reference.asked) == 1


async def test_all_zero(probe):
    """A wrong solution that the rewriter would keep whole is warned of: the paper's loss divides by zero."""
    found, _, _ = await probe(probs=[0.9] * 7)
    assert found.all_zero


@pytest.mark.parametrize("how", [{"reference": None}, {"reference": "  "}, {"correct": None}])
async def test_no_branch(probe, how):
    """Without a reference, or without knowing whether the solution is right, there are no rewards."""
    with pytest.raises(AnnotationFailed) as caught:
        await probe(**how)
    assert caught.value.kind is FailureKind.INVALID


async def test_zeros_on_error(probe):
    """`on_error` zero gives rewards of 0 beside the failure."""
    with pytest.raises(AnnotationFailed) as caught:
        await probe(correct=None, on_error="zero")
    assert caught.value.rewards == (0.0,) * 7


@pytest.mark.parametrize(("reference", "branch"), [("A: 7", "correct"), ("A: 8", "incorrect")])
async def test_answers_decide_the_branch(probe, reference, branch):
    """Where the caller does not say whether the solution is right, its answer does."""
    words = ["So", " it", " is", " that", ".", "\nA:", " 7"]
    found, _, _ = await probe(
        words, correct=None, reference=reference, parts={"checker": open_checker("math")}
    )
    assert found.branch == branch


async def test_unreadable_answer(probe):
    """A reference without an answer decides nothing."""
    with pytest.raises(AnnotationFailed) as caught:
        await probe(correct=None, reference="two\nlines", parts={"checker": open_checker("math")})
    assert caught.value.kind is FailureKind.INVALID


async def test_empty(probe):
    """A completion without tokens of the policy has nothing to pay."""
    with pytest.raises(AnnotationFailed) as caught:
        await probe([])
    assert caught.value.kind is FailureKind.EMPTY


def test_bounds_the_wrong_way_round():
    """Bounds are refused when the lower one is above the upper."""
    with pytest.raises(Rejected):
        prober_of(Weigher([]), clip_correct=(0.5, 0.0))


@pytest.fixture
def tiny(tmp_path) -> Path:
    """A random Llama with the embedded tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=512, bos_token_id=None, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((POCKET / name).read_bytes())
    return tmp_path


async def test_a_real_model(tiny):
    """A real model gives the probabilities of the very tokens behind the fix prompt, end marker included."""
    policy = PolicyTokenizer(ModelRef("p", "1"), Tokenizer.from_file(str(POCKET / "tokenizer.json")))
    ids = (*(policy.encode("2 + 2 = 5")[0].token_ids or ()), 0)
    alignment, special = policy.align(ids, "2 + 2 = 5")
    rollout = Rollout(
        "r", (Message(Role.USER, "2 + 2?"),), Completion(alignment, special), reference="A: 4", correct=False
    )
    engine = await TokenWeigher.open(EngineSettings(engine=EngineName.TRANSFORMERS, model=str(tiny)))
    try:
        prober = prober_of(engine, prompt=POCKET_FIX)
        found, _ = await prober.annotate(rollout, deadline=Deadline.after(30))
        foreign = Completion(Alignment("2 + 2 = 5", (5,), (Span(0, 9),)))
        with pytest.raises(AnnotationFailed) as caught:
            await prober.annotate(
                Rollout("r", rollout.prompt, foreign, reference="A: 4", correct=False),
                deadline=Deadline.after(30),
            )
    finally:
        await engine.close()
    texts = {"question": "2 + 2?", "reference": "A: 4", "prediction": "2 + 2 = 5"}
    prompt_ids = Tokenizer.from_file(str(POCKET / "tokenizer.json")).encode(POCKET_FIX.render(texts)).ids
    model = LlamaForCausalLM.from_pretrained(tiny)
    with torch.inference_mode():
        logits_tv = model(torch.tensor([[*prompt_ids, *ids]])).logits[0].float()
    probs_tv = logits_tv.softmax(-1)[len(prompt_ids) - 1 : -1]
    expected = probs_tv[torch.arange(len(ids)), torch.tensor(ids)]
    assert found.probs == pytest.approx(expected.tolist(), rel=1e-4)
    assert all(-0.1 <= reward <= 0 for reward in found.rewards)
    assert caught.value.kind is FailureKind.UNALIGNED

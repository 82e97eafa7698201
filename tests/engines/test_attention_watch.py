"""Where a reward model looked, against the attention matrices of eager attention."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2ForTokenClassification,
    LlamaConfig,
    LlamaForTokenClassification,
    MambaConfig,
    MambaModel,
    MistralConfig,
    MistralForTokenClassification,
    PreTrainedModel,
)

from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Deadline, Window
from assayd.domain.rollout import Completion, Message, Role
from assayd.engines.tokenizers import Aligner, RawCompletion
from assayd.engines.transformers import SegmentScorer
from assayd.engines.transformers.attention_watch import make_watchable, watching
from assayd.settings import EngineSettings

LATER = Deadline.after(3600)
SHAPE: dict[str, Any] = {
    "vocab_size": 420,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "num_labels": 1,
}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "grouped heads": lambda: LlamaForTokenClassification(LlamaConfig(**SHAPE)),
    "own scaling": lambda: GPT2ForTokenClassification(
        GPT2Config(
            vocab_size=420,
            n_embd=64,
            n_layer=2,
            n_head=4,
            initializer_range=0.2,
            num_labels=1,
            scale_attn_by_inverse_layer_idx=True,
        )
    ),
    "sliding window": lambda: MistralForTokenClassification(MistralConfig(**SHAPE, sliding_window=6)),
}
PROMPT = (Message(Role.USER, "the film"),)
TEXTS = ("the cabbie yells don't", "bad", "the film was not good, not bad. It's the most amazing thing")


async def completed(folder: Path | str, text: str) -> Completion:
    """A completion in the tokens of a folder's tokenizer."""
    (outcome,) = await Aligner(Path(folder)).align_all([RawCompletion(text=text)])
    assert isinstance(outcome, Completion)
    return outcome


def eager_attention(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """Attention of the last token in the last layer, the mean over the heads."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        outputs = model.eval()(input_ids=torch.tensor([ids]), output_attentions=True)
    return outputs.attentions[-1][0, :, -1].mean(0)


@pytest.mark.parametrize("name", MODELS)
async def test_it_is_the_attention_of_the_model(name: str, keep: Callable[..., EngineSettings]) -> None:
    """The end marker's attention to the completion's tokens, scaled to 1; its score is the model's own."""
    torch.manual_seed(0)
    model = MODELS[name]()
    settings = keep(model)
    tokenizer = AutoTokenizer.from_pretrained(settings.model)
    engine = await SegmentScorer.open(settings)
    for text in TEXTS:
        completion = await completed(str(settings.model), text)
        seen = await engine.attend(PROMPT, completion, window=Window(), deadline=LATER)
        prompt_ids = tokenizer("the film")["input_ids"]
        ids = [*prompt_ids, *(completion.alignment.token_ids or ()), tokenizer.eos_token_id]
        looks = eager_attention(model, ids)[len(prompt_ids) : -1]
        assert seen.weights == pytest.approx((looks / looks.sum()).tolist(), abs=1e-5)
        with torch.no_grad():
            score = model(input_ids=torch.tensor([ids])).logits[0, -1, 0].item()
        assert seen.score == pytest.approx(score, abs=1e-5)
    await engine.close()


@pytest.mark.parametrize("kind", ["llama2", "t5", "bert"])
async def test_other_tokens_share_it_by_characters(
    kind: str, keep: Callable[..., EngineSettings], tokenizer_folders: Path
) -> None:
    """Brought to a policy's own tokens the shares are still 1 in all, and none is negative."""
    engine = await SegmentScorer.open(keep(MODELS["grouped heads"]()))
    theirs = await completed(tokenizer_folders / kind, TEXTS[2])
    seen = await engine.attend(PROMPT, theirs, window=Window(), deadline=LATER)
    assert seen.intake.transferred
    assert len(seen.weights) == len(theirs)
    assert math.fsum(seen.weights) == pytest.approx(1.0)
    assert min(seen.weights) >= 0
    await engine.close()


async def test_an_empty_completion_is_looked_at_nowhere(keep: Callable[..., EngineSettings]) -> None:
    """There is a score and no share."""
    settings = keep(MODELS["grouped heads"]())
    engine = await SegmentScorer.open(settings)
    empty = await completed(str(settings.model), "")
    assert (await engine.attend(PROMPT, empty, window=Window(), deadline=LATER)).weights == ()
    await engine.close()


async def test_attention_that_cannot_be_read_is_a_failure(keep: Callable[..., EngineSettings]) -> None:
    """Eager attention is not watched: the failure says to choose another method."""
    settings = keep(MODELS["grouped heads"]())
    config = Path(str(settings.model)) / "config.json"
    config.write_text(config.read_text().replace("{", '{"attn_implementation": "eager",', 1))
    engine = await SegmentScorer.open(settings)
    completion = await completed(str(settings.model), "bad")
    with pytest.raises(AnnotationFailed, match="another method") as failed:
        await engine.attend(PROMPT, completion, window=Window(), deadline=LATER)
    assert failed.value.kind is FailureKind.ENGINE
    await engine.close()


def test_memory_does_not_grow_with_the_square() -> None:
    """What is kept of a layer is one number per row and token, never a matrix; unwatched, nothing is."""
    model = MODELS["grouped heads"]().eval()
    assert make_watchable(model)
    ids_bt = torch.randint(0, 400, (3, 200))
    with torch.inference_mode(), watching(torch.tensor([199, 50, 0])) as watch:
        model(input_ids=ids_bt)
    assert watch.weights_bt is not None
    assert watch.weights_bt.shape == (3, 200)
    assert watch.weights_bt.sum(-1).tolist() == pytest.approx([1, 1, 1])
    assert watch.weights_bt[1, 51:].sum() == 0
    assert watch.weights_bt[2, 0] == 1


def test_a_model_without_attention_shows_none() -> None:
    """A recurrent model is refused or seen through: it never makes up a look."""
    model = MambaModel(MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, state_size=4)).eval()
    if make_watchable(model):
        with torch.inference_mode(), watching(torch.tensor([1])) as watch:
            model(input_ids=torch.tensor([[1, 2]]))
        assert watch.weights_bt is None

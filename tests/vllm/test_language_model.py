"""What only vLLM does: adapters by task, replies held to a schema, entropies of the likeliest ids, calls called off."""

import asyncio
import json
import math
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import pytest_asyncio
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from assayd.annotators.remarks import SCHEMA
from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Deadline, FinishReason, Sampling, Window
from assayd.domain.rollout import Completion, Message, Role
from assayd.engines import transformers, vllm
from assayd.engines.tokenizers import Aligner, RawCompletion
from assayd.settings import EngineName, EngineSettings

from .models import ragged
from .services import hosted

TASK: Final = "relc-toxicity"
SMALL_SCHEMA: Final = json.dumps(
    {
        "type": "object",
        "properties": {
            "verdict": {"type": "string", "enum": ["good", "bad", "naïve"]},
            "sure": {"type": "boolean"},
            "marks": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0, "maximum": 9},
                "maxItems": 3,
            },
        },
        "required": ["verdict", "sure", "marks"],
        "additionalProperties": False,
    }
)
TOP: Final = 20

pytestmark = pytest.mark.asyncio(loop_scope="session")


def soon() -> Deadline:
    """Long enough for any call here."""
    return Deadline.after(120)


def asked(text: str) -> tuple[Message, ...]:
    """One turn of a user."""
    return (Message(Role.USER, text),)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(low_rank: dict[str, str]) -> AsyncIterator[Any]:
    """The random model in vLLM, with an adapter for one task."""
    settings = EngineSettings(**hosted(low_rank["base"], adapters={TASK: low_rank["adapter"]}))
    engine = await vllm.Generator.open(settings)
    yield engine
    await engine.close()


def beside(role: Any, folder: str) -> Any:
    """A model of the transformers engine, to hold vLLM's against."""
    return role.open(EngineSettings(**hosted(folder, EngineName.TRANSFORMERS)))


async def said(engine: Any) -> list[tuple[str, FinishReason]]:
    """What it writes behind some prompts."""
    prompts = ("Write.", "the film was not good", "naïve café ☕", "1 + 2 = ")
    replies = [await engine.generate(asked(prompt), Sampling(24), deadline=soon()) for prompt in prompts]
    return [(reply.text, reply.finish) for reply in replies]


async def test_the_adapter_of_a_task(engine: Any, low_rank: dict[str, str]) -> None:
    """Its task is answered as by the model with the adapter merged into its weights, every other as by the model."""
    base = await beside(transformers.Generator, low_rank["base"])
    merged = await beside(transformers.Generator, low_rank["merged"])
    assert await said(engine) == await said(base)
    assert await said(engine.adapted(TASK)) == await said(merged)
    assert await said(engine.adapted(TASK)) != await said(engine)
    assert await said(engine) == await said(base)
    await base.close()
    await merged.close()


async def test_the_adapter_is_named(engine: Any, low_rank: dict[str, str]) -> None:
    """What a recipe says of the model tells the adapted one from the others."""
    adapted = engine.adapted(TASK)
    assert engine.adapted("math-steps") is engine
    assert low_rank["adapter"] in adapted.model.name
    assert adapted.model.revision.startswith(f"{engine.model.revision}+sha256:")


@pytest.mark.parametrize("schema", [SMALL_SCHEMA, SCHEMA])
async def test_a_reply_held_to_a_schema(schema: str, engine: Any) -> None:
    """Random weights write JSON that follows it; only what was cut off may break off."""
    replies = await asyncio.gather(
        *(
            engine.generate(
                asked("Go on."),
                Sampling(300, temperature=1.0, seed=seed, json_schema=schema),
                deadline=soon(),
            )
            for seed in range(8)
        )
    )
    whole = [reply.text for reply in replies if reply.finish is FinishReason.STOP]
    assert whole or schema != SMALL_SCHEMA
    for text in whole:
        jsonschema.validate(json.loads(text), json.loads(schema))
    for reply in replies:
        assert reply.text.lstrip().startswith("{")


async def test_a_seed_gives_the_same_text_again(engine: Any) -> None:
    """Alone and in company."""

    def write(seed: int) -> Any:
        return engine.generate(asked("Go on."), Sampling(16, temperature=1.0, seed=seed), deadline=soon())

    together = await asyncio.gather(*map(write, range(8)))
    assert len({reply.text for reply in together}) == 8
    assert [(await write(seed)).text for seed in range(8)] == [reply.text for reply in together]


@pytest.fixture(scope="session")
def completions(low_rank: dict[str, str]) -> Callable[[], Any]:
    """Completions in the tokens of the model."""

    async def made() -> list[Completion]:
        raw = [RawCompletion(text=text) for text in ragged(6)]
        return [
            one for one in await Aligner(Path(low_rank["base"])).align_all(raw) if isinstance(one, Completion)
        ]

    return made


async def test_entropies_of_a_whole_vocabulary(
    engine: Any, low_rank: dict[str, str], completions: Any, differences: Any
) -> None:
    """Log-probabilities and entropies are those of the transformers engine."""
    weigher = await beside(transformers.TokenWeigher, low_rank["base"])
    assert engine.entropy_approx is None
    for completion in await completions():
        how = {"window": Window(), "deadline": soon(), "entropies": True}
        known = await weigher.weigh(asked("Go on."), completion, **how)
        told = await engine.weigh(asked("Go on."), completion, **how)
        differences.refuse(list(told.logprobs), list(known.logprobs))
        differences.refuse(list(told.entropies), list(known.entropies))
        assert told.intake == known.intake
        unopened = await engine.weigh(asked("Go on."), completion, **{**how, "entropies": False})
        differences.refuse(list(unopened.logprobs), list(known.logprobs))
        assert unopened.entropies == ()
    await weigher.close()


async def test_tokens_are_weighed_with_an_adapter(
    engine: Any, low_rank: dict[str, str], completions: Any, differences: Any
) -> None:
    """As by the model with the adapter merged into its weights."""
    weigher = await beside(transformers.TokenWeigher, low_rank["merged"])
    for completion in await completions():
        how = {"window": Window(), "deadline": soon(), "entropies": True}
        known = await weigher.weigh(asked("Go on."), completion, **how)
        told = await engine.adapted(TASK).weigh(asked("Go on."), completion, **how)
        differences.refuse(list(told.logprobs), list(known.logprobs))
        differences.refuse(list(told.entropies), list(known.entropies))
    await weigher.close()


async def test_an_adapter_of_the_output_layer_is_refused(low_rank: dict[str, str], tmp_path: Path) -> None:
    """The engine would die where it has to weigh; the refusal says what to do."""
    adapter = shutil.copytree(low_rank["adapter"], tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["lm_head"]}))
    with pytest.raises(ValueError, match="merge that adapter"):
        await vllm.Generator.open(EngineSettings(**hosted(low_rank["base"], adapters={TASK: str(adapter)})))


async def test_entropies_of_the_likeliest(
    engine: Any, low_rank: dict[str, str], completions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lie between the least and the most that the 20 likeliest ids and the written one leave open."""
    monkeypatch.setattr("assayd.engines.vllm.language_model.EXACT_VOCABULARY", 100)
    assert engine.entropy_approx == "top-20"
    model = AutoModelForCausalLM.from_pretrained(low_rank["base"], dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(low_rank["base"])
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Go on."}], add_generation_prompt=True, return_dict=False
    )
    for completion in await completions():
        told = await engine.weigh(
            asked("Go on."), completion, window=Window(), deadline=soon(), entropies=True
        )
        ids = list(completion.alignment.token_ids or ())
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) :]
        for row, written, entropy in zip(logits, [*ids[1:], None], told.entropies, strict=True):
            least, exact, most = bounds(row.double(), written)
            assert least <= exact + 1e-9 <= most + 2e-9
            assert least - 1e-4 <= entropy <= most + 1e-4


def bounds(logits: torch.Tensor, written: int | None) -> tuple[float, float, float]:
    """The least and the most entropy that agrees with what is told, and between them the entropy itself."""
    shares = torch.softmax(logits, -1)
    likeliest = shares.topk(TOP)
    known = set(likeliest.indices.tolist()) | ({written} if written is not None else set())
    told = [shares[one].item() for one in known]
    rest, others, highest = 1 - math.fsum(told), len(shares) - len(told), likeliest.values[-1].item()
    spoken = -math.fsum(share * math.log(share) for share in told)
    exact = -(shares * shares.log()).sum().item()
    # No id that is not told is likelier than the least likely of the twenty.
    return spoken - rest * math.log(highest), exact, spoken - rest * math.log(rest / others)


async def test_who_comes_to_the_deadline_frees_the_engine(engine: Any) -> None:
    """The call fails on time, the engine drops its request, and the next one is served."""
    with pytest.raises(AnnotationFailed) as failed:
        await engine.generate(asked("Go on."), Sampling(4000), deadline=Deadline.after(0.5))
    assert failed.value.kind is FailureKind.PAST_DEADLINE
    await asyncio.wait_for(engine.generate(asked("Stop."), Sampling(4), deadline=soon()), 30)
    assert running(engine) == 0


async def test_who_goes_frees_the_engine(engine: Any) -> None:
    """A call that is called off leaves no request behind."""
    call = asyncio.create_task(engine.generate(asked("Go on."), Sampling(4000), deadline=soon()))
    for _ in range(200):
        await asyncio.sleep(0.05)
        if running(engine):
            break
    assert running(engine) == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(engine.generate(asked("Stop."), Sampling(4), deadline=soon()), 30)
    assert running(engine) == 0


def running(engine: Any) -> float:
    """How many requests vLLM says are under way."""
    return sum(
        sample.value
        for family in engine.registry.collect()
        for sample in family.samples
        if sample.name == "vllm:num_requests_running"
    )

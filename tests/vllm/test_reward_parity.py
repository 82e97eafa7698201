"""The same segments, sequences and token probabilities from ``transformers`` and ``vllm``, whatever the layout."""

from collections.abc import Callable
from typing import Any, Final

import pytest

OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "entropy": {"c_ent": 1.5, "return_entropies": True},
    "sentence": {"segmenter": "sentence"},
    "fixed": {"segmenter": "fixed", "segment_length": 5},
    "tokens": {"boundary_mode": "token"},
    "whole": {"boundary_mode": "bandit"},
}
LONG: Final = "Tell me a long story of the film, the café and the cabbie who yells at everybody. " * 8


@pytest.fixture(scope="module")
def services(transformers_service: Any, vllm_service: Any) -> tuple[Any, Any]:
    """The two that host models themselves."""
    return transformers_service, vllm_service


@pytest.fixture(scope="module")
def same(services: tuple[Any, Any], differences: Any) -> Callable[..., Any]:
    """Ask both, fail unless they agree, and give the answer."""

    def ask(route: str, body: dict[str, Any]) -> Any:
        known, answer = (service.post(route, body) for service in services)
        differences.refuse(answer, known)
        return answer

    return ask


def body_of(rollouts: list[dict[str, Any]], tokenizer: str | None = None, **options: Any) -> dict[str, Any]:
    """A request with these options."""
    named = {} if tokenizer is None else {"tokenizer": {"name": tokenizer}}
    return {**named, "rollouts": rollouts, "options": options, "timeout_s": 300}


@pytest.fixture(scope="module")
def in_ids(load: Callable[[str], Any], texts: list[str]) -> Callable[[str], list[dict[str, Any]]]:
    """Rollouts that bring token ids of a tokenizer, every third with its end marker."""

    def rollouts(folder: str) -> list[dict[str, Any]]:
        tokenizer = load(folder)
        made = []
        for index, text in enumerate(texts):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            ended = [tokenizer.eos_token_id] if index % 3 == 0 else []
            prompt = [{"role": "user", "content": "Go on."}] if index % 2 else "the film was good"
            made.append({"prompt": prompt, "completion": {"token_ids": [*ids, *ended]}})
        return made

    return rollouts


@pytest.mark.parametrize("name", OPTIONS)
def test_segments(name: str, same: Any, in_ids: Any, taught: Any) -> None:
    """However it is cut: places and texts exactly, raw values within the tolerance."""
    answer = same("/score/segment", body_of(in_ids(taught.model), taught.model, **OPTIONS[name]))
    results = answer["results"]
    assert all(result["status"] == "ok" for result in results)
    assert sum(len(result["segments"]) for result in results) >= len(results)
    raws = [segment["raw"] for result in results for segment in result["segments"]]
    assert max(raws) - min(raws) > 0.1


def test_cutting_by_entropies_cuts(same: Any, in_ids: Any, taught: Any) -> None:
    """The threshold of these tests is not one that nothing or everything is above."""
    answer = same("/score/segment", body_of(in_ids(taught.model), taught.model, **OPTIONS["entropy"]))
    tokens = sum(len(result["rewards"]) for result in answer["results"])
    segments = sum(len(result["segments"]) for result in answer["results"])
    assert len(answer["results"]) < segments < tokens


@pytest.mark.parametrize("sent", ["offsets", "text"])
def test_segments_of_texts(sent: str, same: Any, load: Any, texts: list[str], taught: Any) -> None:
    """Text with offsets, and text alone."""
    encode = load(taught.model)
    rollouts = []
    for text in texts:
        offsets = encode(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        completion = {"text": text, **({"offsets": offsets} if sent == "offsets" else {})}
        rollouts.append({"prompt": "Go on.", "completion": completion})
    answer = same("/score/segment", body_of(rollouts, segmenter="fixed", segment_length=3))
    assert all(result["status"] == "ok" for result in answer["results"])


def test_segments_of_another_tokenizer(same: Any, in_ids: Any, taught: Any) -> None:
    """Ids that the model does not read are transferred, or refused, alike."""
    rollouts = in_ids(taught.letters)
    moved = same("/score/segment", body_of(rollouts, taught.letters, **OPTIONS["fixed"]))
    assert all(result["transferred"] for result in moved["results"])
    told = {**OPTIONS["fixed"], "tokenizer_policy": "require_same"}
    refused = same("/score/segment", body_of(rollouts, taught.letters, **told))
    assert {result["failure"]["kind"] for result in refused["results"]} == {"unaligned"}


def test_a_long_prompt_loses_its_left(same: Any, in_ids: Any, taught: Any) -> None:
    """As many tokens are dropped, and what is left is worth the same; a completion is never cut."""
    rollouts = [{**rollout, "prompt": LONG} for rollout in in_ids(taught.model)]
    cut = same("/score/segment", body_of(rollouts, taught.model, max_prompt_length=20, **OPTIONS["fixed"]))
    assert all(result["prompt_tokens_dropped"] > 100 for result in cut["results"])
    whole = same("/score/segment", body_of(rollouts, taught.model, **OPTIONS["fixed"]))
    assert all("prompt_tokens_dropped" not in result for result in whole["results"])
    assert cut["results"][0]["segments"] != whole["results"][0]["segments"]
    refused = same("/score/segment", body_of(rollouts, taught.model, max_length=30, max_prompt_length=20))
    assert "too_long" in {result.get("failure", {}).get("kind") for result in refused["results"]}


def test_an_empty_completion(same: Any, taught: Any) -> None:
    """Fails alike on every route."""
    rollouts = [{"prompt": "Go on.", "completion": {"token_ids": []}, "reference": "1", "correct": False}]
    for route, method in (
        ("/score/segment", "segment"),
        ("/score/sequence", "sequence"),
        ("/score/token", "grm"),
    ):
        answer = same(route, {**body_of(rollouts, taught.model), "method": method})
        assert answer["results"][0]["failure"]["kind"] == "empty"


def test_prefix_differences(same: Any, in_ids: Any, taught: Any) -> None:
    """How much the score rises, token by token."""
    answer = same("/score/segment", {**body_of(in_ids(taught.model), taught.model), "method": "prefix_diff"})
    assert all(result["status"] == "ok" for result in answer["results"])


def test_attention_is_refused(vllm_service: Any, in_ids: Any, taught: Any) -> None:
    """What vLLM cannot show it does not make up."""
    body = {**body_of(in_ids(taught.model), taught.model), "method": "attention"}
    for result in vllm_service.post("/score/segment", body)["results"]:
        assert result["failure"]["kind"] == "engine"
        assert "transformers" in result["failure"]["detail"]


@pytest.mark.parametrize("activation", ["sigmoid", "raw"])
def test_sequences(activation: str, same: Any, in_ids: Any, taught: Any) -> None:
    """A sequence classifier and a model of the released layout, each with tokens of its own."""
    components = [
        {"name": model, "model": model, "activation": activation} for model in ("reward", "released")
    ]
    answer = same("/score/sequence", body_of(in_ids(taught.model), taught.model, components=components))
    for name in ("reward", "released"):
        raws = [result["raw"][name] for result in answer["results"]]
        assert max(raws) - min(raws) > 0.1
    assert all(result["transferred"] for result in answer["results"])


@pytest.mark.parametrize("correct", [True, False])
def test_token_probabilities(correct: bool, same: Any, in_ids: Any, taught: Any) -> None:
    """GRM: the rewriter's probability of every token, of the end marker too."""
    rollouts = [{**rollout, "reference": "Thanks.", "correct": correct} for rollout in in_ids(taught.model)]
    answer = same(
        "/score/token", {**body_of(rollouts, taught.model, clip_incorrect=(-1.0, 1.0)), "method": "grm"}
    )
    probs = [prob for result in answer["results"] for prob in result["probs"]]
    assert min(probs) < 0.01 < 0.5 < max(probs)


def test_token_probabilities_of_what_was_taught(same: Any, load: Any, taught: Any) -> None:
    """Solutions of the cases, in tokens of another tokenizer."""
    tokenizer = load(taught.letters)
    solved = [case.case for case in taught.cases if case.route == "/rewrite"]
    rollouts = [
        {
            "prompt": case["prompt"],
            "completion": {"token_ids": tokenizer(case["completion"])["input_ids"]},
            "reference": "27",
            "correct": False,
        }
        for case in solved
    ]
    refused = same("/score/token", {**body_of(rollouts, taught.letters), "method": "grm"})
    assert {result["failure"]["kind"] for result in refused["results"]} == {"unaligned"}
    moved = body_of(rollouts, taught.letters, tokenizer_policy="transfer")
    answer = same("/score/token", {**moved, "method": "grm"})
    assert all(result["transferred"] for result in answer["results"])


@pytest.mark.parametrize(
    ("route", "method"),
    [("/score/segment", "segment"), ("/score/token", "grm"), ("/score/sequence", "sequence")],
)
def test_company_changes_nothing(
    route: str, method: str, vllm_service: Any, load: Any, many: list[str], taught: Any, differences: Any
) -> None:
    """64 rollouts at once are worth what each is worth alone."""
    tokenizer = load(taught.model)
    cut = OPTIONS["fixed"] if method == "segment" else {}

    def ask(texts: list[str], number: float) -> Any:
        known = {"prompt": "Go on.", "reference": "27", "correct": False}
        rollouts = [{**known, "completion": {"token_ids": tokenizer(text)["input_ids"]}} for text in texts]
        # What changes nothing but the key, so that nothing comes from the cache.
        anew = {"eps": 0.5 + number / 10} if method == "sequence" else {"alpha_ext": number}
        body = body_of(rollouts, taught.model, **cut, **anew)
        return vllm_service.post(route, {**body, "method": method})["results"]

    together = ask(many, 2.0)
    assert len(together) == 64
    for text, known in zip(many, together, strict=True):
        (alone,) = ask([text], 3.0)
        assert not alone["provenance"]["cached"]
        kept = ("rewards", "segments", "raw", "probs")
        differences.refuse(*({key: one[key] for key in kept if key in one} for one in (alone, known)))

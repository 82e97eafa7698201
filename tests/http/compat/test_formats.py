"""Requests as trainers send them, byte for byte, and answers in the shapes that their clients read."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from assayd.app import create_app
from assayd.settings import Settings

QUESTION = "What are you? A zebra?"
ANSWER = "No, you zebra, I am not."
PROMPT = (
    f"<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
)
CHAT = f"{PROMPT}{ANSWER}<|im_end|>\n"

Start = Callable[..., str]


@pytest.fixture
def url(foreign: Start) -> str:
    """A service that says of each completion the least reward of a token: -0.5 with a zebra, 0 without."""
    return foreign(aggregation="min")


def post(url: str, path: str, body: Any) -> Any:
    """The answer, as aiohttp's and requests' clients read it: JSON by its content type, and finite."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = httpx.post(
        url + path, content=content, headers={"Content-Type": "application/json"}, timeout=60
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["reward-recipe"].startswith("sha256:")
    return json.loads(response.text, parse_constant=pytest.fail)


def test_openrlhf(url: str) -> None:
    """One query with its end marker, its prompt and its label; the completion alone is judged."""
    sent = b'{"query": ["A zebra?\\nNo, a horse.<|im_end|>"], "prompts": ["A zebra?\\n"], "labels": [null]}'
    clean = post(url, "/get_reward", sent)
    assert clean["rewards"] == clean["scores"] == [0.0]
    marked = post(url, "/get_reward", {"query": [CHAT], "prompts": [PROMPT], "labels": ["horse"]})
    assert marked["rewards"] == [-0.5]
    assert set(marked["extra_logs"]) == set(clean["extra_logs"]) == {"token_reward_mean", "token_reward_min"}
    assert all(isinstance(value, float) for values in marked["extra_logs"].values() for value in values)


def test_openrlhf_sends_several_and_older_ones_no_prompts(url: str) -> None:
    """Rewards come in the order of the queries; without prompts the chat template tells."""
    harmless = CHAT.replace(ANSWER, "A horse.")
    answer = post(url, "/get_reward", {"query": [harmless, CHAT, harmless]})
    assert answer["rewards"] == [0.0, -0.5, 0.0]


def test_slime(url: str) -> None:
    """The prompt as text or as messages; the answer is an object whose `score` is the reward."""
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": QUESTION}]
    answers = [
        post(url, "/remote_rm", {"prompt": prompt, "response": ANSWER + end, "label": label})
        for prompt, end, label in (
            (PROMPT, "<|im_end|>", "horse"),
            (messages, "", None),
            (QUESTION, "", None),
        )
    ]
    for answer in answers:
        assert answer["score"] == min(answer["token_rewards"]) == -0.5
        assert answer["failure"] is None
        (first, *_), (*_, last) = zip(
            *(
                place
                for place, reward in zip(answer["offsets"], answer["token_rewards"], strict=True)
                if reward
            ),
            strict=True,
        )
        assert "zebra" in ANSWER[first:last]
        assert answer["offsets"][-1][1] == len(ANSWER)


def test_llama_factory(url: str) -> None:
    """Whole conversations with special tokens; one score each."""
    sent = json.dumps({"model": "model", "messages": [CHAT.strip(), CHAT.replace(ANSWER, "A horse.")]})
    answer = post(url, "/v1/score/evaluation", sent.encode())
    assert answer["id"].startswith("scoreval-")
    assert (answer["object"], answer["model"]) == ("score.evaluation", "model")
    assert answer["scores"] == [-0.5, 0.0]


def test_vllm_classify(url: str) -> None:
    """One class, whose probability is the reward as it is; veRL reads the last one of the last one."""
    answer = post(url, "/classify", {"model": "rm", "input": CHAT, "use_activation": False})
    assert answer["data"][-1]["probs"][-1] == -0.5
    assert answer["data"] == [{"index": 0, "label": "LABEL_0", "probs": [-0.5], "num_classes": 1}]
    assert (answer["object"], answer["model"]) == ("list", "rm")
    assert isinstance(answer["created"], int)
    assert set(answer["usage"]) == {"prompt_tokens", "total_tokens", "completion_tokens"}
    spoken = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    assert post(url, "/classify", {"messages": spoken})["data"][0]["probs"] == [-0.5]


@pytest.mark.parametrize(
    ("first", "second"),
    [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")],
)
@pytest.mark.parametrize("path", ["/score", "/v1/score"])
def test_vllm_score(url: str, path: str, first: str, second: str) -> None:
    """Prompt and completion under any pair of names; one prompt is for all completions."""
    answer = post(url, path, {"model": "rm", first: QUESTION, second: [ANSWER, "A horse."]})
    assert answer["data"] == [
        {"index": 0, "object": "score", "score": -0.5},
        {"index": 1, "object": "score", "score": 0.0},
    ]
    assert (
        post(url, path, {first: [QUESTION, QUESTION], second: [ANSWER, "A horse."]})["data"] == answer["data"]
    )
    refused = httpx.post(url + path, json={first: [QUESTION, QUESTION], second: [ANSWER] * 3})
    assert (refused.status_code, refused.json()["kind"]) == (422, "invalid")


def test_vllm_pools_every_token_of_a_text(url: str) -> None:
    """One row a token, prompt and markers included: those get 0.0, whatever they say."""
    answer = post(url, "/pooling", {"model": "rm", "input": [CHAT], "task": "token_classify"})
    (pooled,) = answer["data"]
    rows = [reward for (reward,) in pooled["data"]]
    assert (pooled["index"], pooled["object"]) == (0, "pooling")
    native = post_native(url)
    start = rows.index(-0.5) - native.index(-0.5)
    assert rows[start : start + len(native)] == native
    assert not any(rows[:start] + rows[start + len(native) :])
    whole = post(url, "/pooling", {"model": "rm", "input": [CHAT], "task": "classify"})
    assert whole["data"][0]["data"] == [-0.5]


def post_native(url: str) -> list[float]:
    """What Assay's own route says of the same rollout."""
    prompt = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": QUESTION}]
    rollout = {"prompt": prompt, "completion": {"text": ANSWER}}
    response = httpx.post(f"{url}/score/token", json={"task": "relc-toxicity", "rollouts": [rollout]})
    rewards: list[float] = response.json()["results"][0]["rewards"]
    return rewards


def test_sglang(url: str) -> None:
    """Its own shape answers one with one and several with several; embeddings are what veRL reads."""
    one = post(url, "/classify", {"model": "rm", "text": CHAT})
    assert one["embedding"] == [-0.5]
    assert set(one["meta_info"]) == {"id", "prompt_tokens"}
    several = post(url, "/classify", {"model": "rm", "text": [CHAT, CHAT.replace(ANSWER, "A horse.")]})
    assert [each["embedding"] for each in several] == [[-0.5], [0.0]]
    answer = post(url, "/v1/embeddings", {"model": "rm", "input": CHAT})
    assert answer["data"][-1]["embedding"][-1] == -0.5
    assert (answer["object"], answer["data"][0]["object"]) == ("list", "embedding")


ROW = {
    "responses_create_params": {
        "input": [
            {"role": "developer", "content": "Be kind.", "type": "message"},
            {"role": "user", "content": [{"type": "input_text", "text": QUESTION}], "type": "message"},
        ],
        "parallel_tool_calls": True,
        "tools": [],
    },
    "response": {
        "id": "resp_1",
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "zebra"}]},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"at": "zebra"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "a zebra"},
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": ANSWER, "annotations": []}],
            },
        ],
        "usage": None,
    },
    "expected_answer": "horse",
    "_ng_task_index": 3,
}


def test_nemo_gym(url: str) -> None:
    """The row comes back as it was, with the reward of the last message; tools and thoughts are not judged."""
    answer = post(url, "/verify", ROW)
    assert answer.pop("reward") == -0.5
    assert answer == ROW
    harmless = json.loads(json.dumps(ROW).replace(ANSWER, "A horse."))
    assert post(url, "/verify", harmless)["reward"] == 0.0


def test_nemo_gyms_agents_seed_sessions_and_sum_up(url: str) -> None:
    """The routes that its agent calls before the first rollout and behind the last one answer."""
    seeded = httpx.post(f"{url}/seed_session", json=ROW)
    assert (seeded.status_code, seeded.json()) == (200, {})
    rows = [
        {"_ng_task_index": task, "reward": reward, "agent_ref": {}}
        for task, reward in ((0, 1.0), (0, 0.0), (1, -0.5))
    ]
    summed = httpx.post(f"{url}/aggregate_metrics", json={"verify_responses": rows}).json()
    assert summed["agent_metrics"] == {"mean/reward": pytest.approx(1 / 6)}
    assert [group["mean/reward"] for group in summed["group_level_metrics"]] == [0.5, -0.5]
    huge = {"verify_responses": [{"reward": 1.7e308}] * 3}
    assert httpx.post(f"{url}/aggregate_metrics", json=huge).json()["key_metrics"]["mean/reward"] == 1.7e308


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("sum", sum), ("mean", lambda r: sum(r) / len(r)), ("last", lambda r: r[-1]), ("min", min)],
)
def test_aggregations(foreign: Start, aggregation: str, expected: Callable[[list[float]], float]) -> None:
    """The one number is made of the rewards that Assay's own route gives the tokens."""
    url = foreign(aggregation=aggregation, options={"positive_reward": 0.125})
    sent = {"prompt": PROMPT, "response": "you zebra, I am not.", "label": None}
    answer = post(url, "/remote_rm", sent)
    assert len(set(answer["token_rewards"])) == 2
    assert answer["score"] == pytest.approx(expected(answer["token_rewards"]))


def test_whole_completions_can_be_rewarded(foreign: Start) -> None:
    """Method `sequence` answers with the sequence reward; there are no token rewards then, and none are made up."""
    url = foreign(
        method="sequence", options={"components": [{"name": "long", "kind": "length", "length_target": 1}]}
    )
    answer = post(url, "/remote_rm", {"prompt": QUESTION, "response": ANSWER, "label": None})
    assert (answer["score"], answer["token_rewards"], answer["offsets"]) == (1.0, None, None)
    assert post(url, "/get_reward", {"query": [QUESTION + ANSWER], "prompts": [QUESTION]})["extra_logs"] == {}
    refused = httpx.post(f"{url}/pooling", json={"input": CHAT})
    assert refused.status_code == 422
    assert "ASSAY_COMPAT__METHOD" in refused.json()["detail"]


def test_labels_are_references(foreign: Start) -> None:
    """A method that goes by references gets the trainer's labels; without them it cannot judge."""
    url = foreign(method="grm")
    sent = {"prompt": "2 + 2?", "response": "A: 4", "label": "A: 4"}
    assert isinstance(post(url, "/remote_rm", sent)["score"], float)
    refused = httpx.post(f"{url}/remote_rm", json={**sent, "label": None})
    assert (refused.status_code, refused.json()["kind"]) == (422, "invalid")


def test_a_pinned_recipe_is_kept_to(url: str) -> None:
    """The recipe that an answer names can be pinned, as on Assay's own routes."""
    sent = {"prompt": QUESTION, "response": ANSWER, "label": None}
    recipe = httpx.post(f"{url}/remote_rm", json=sent).headers["reward-recipe"]
    pinned = httpx.post(f"{url}/remote_rm", json=sent, headers={"If-Reward-Match": recipe})
    changed = httpx.post(f"{url}/remote_rm", json=sent, headers={"If-Reward-Match": "sha256:0"})
    assert (pinned.status_code, changed.status_code) == (200, 412)


def test_the_service_as_it_comes_answers_every_format(embedded: httpx.Client) -> None:
    """Without any setting, the embedded models answer; all formats say the same of the same rollout."""
    question = "Bo bought 4 boxes of 3 pens each and gave away 2 pens. How many are left?"
    written = "The boxes hold 4 * 3 = 12 pens.\nBo keeps 12 - 2 = 10 of them.\nA: 10"
    prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    chat = f"{prompt}{written}<|im_end|>"
    row = {
        "responses_create_params": {"input": question},
        "response": {"output": [{"type": "message", "role": "assistant", "content": written}]},
    }
    answers = [
        embedded.post("/get_reward", json={"query": [chat], "prompts": [prompt], "labels": [None]}).json()[
            "rewards"
        ][0],
        embedded.post("/remote_rm", json={"prompt": prompt, "response": written, "label": None}).json()[
            "score"
        ],
        embedded.post("/v1/score/evaluation", json={"messages": [chat]}).json()["scores"][0],
        embedded.post("/classify", json={"input": chat}).json()["data"][0]["probs"][0],
        embedded.post("/classify", json={"text": chat}).json()["embedding"][0],
        embedded.post("/v1/embeddings", json={"input": [chat]}).json()["data"][0]["embedding"][0],
        embedded.post("/score", json={"text_1": question, "text_2": written}).json()["data"][0]["score"],
        embedded.post("/verify", json=row).json()["reward"],
    ]
    rollout = {"prompt": question, "completion": {"text": written}}
    native = embedded.post("/score/segment", json={"rollouts": [rollout]}).json()["results"][0]["rewards"]
    assert answers == pytest.approx([sum(native)] * len(answers), abs=1e-3)
    pooled = embedded.post("/pooling", json={"input": [chat]}).json()["data"][0]["data"]
    assert sum(reward for (reward,) in pooled) == pytest.approx(sum(native), abs=1e-3)


@pytest.mark.parametrize("compat", [{"method": "critic", "task": "poetry"}, {"options": {"c_ents": 1}}])
def test_settings_that_no_call_could_use_end_the_start(compat: dict[str, Any]) -> None:
    """A task or an option that does not exist is found when the service starts, not by the first trainer."""
    with pytest.raises(ValueError, match=r"poetry|c_ents"):
        create_app(Settings(compat=compat))

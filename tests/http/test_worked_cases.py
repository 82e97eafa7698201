"""The worked cases of RELC over HTTP, in both modes, with a scripted OpenAI-compatible critic."""

from typing import Any

import pytest

R1 = [
    "The",
    " c",
    "abbie",
    " yell",
    "s",
    ': "',
    "I",
    "'m",
    " going",
    " to",
    " kill",
    " you",
    ",",
    " bitch",
    '!"',
]
R6 = "This| is| the| most| amazing| film| ,| but| quite| boring| in| the| end| .".split("|")
R7 = ["People", " switched", " and", " decided", " to", " change", ",", " why", "?"]
HURT = {"negative_reward": -0.5, "positive_reward": 0.0}


def rollout(tokens: list[str], **fields: Any) -> dict[str, Any]:
    """A rollout whose tokens are these strings, aligned by the caller."""
    offsets, at = [], 0
    for token in tokens:
        offsets.append([at, at + len(token)])
        at += len(token)
    return {"completion": {"text": "".join(tokens), "offsets": offsets}, **fields}


def score(service: Any, task: str, mode: str, item: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The one result of a call."""
    body = {"task": task, "mode": mode, "rollouts": [item], "options": options}
    response = service.post("/score/token", json=body)
    assert response.status_code == 200, response.text
    (result,) = response.json()["results"]
    return result


def marked(length: int, values: dict[int, float], rest: float = 0.0) -> list[float]:
    """A reward list from its exceptions."""
    return [values.get(index, rest) for index in range(length)]


@pytest.mark.parametrize(
    ("mode", "hits"), [("compat", (4, 10, 11, 12, 13)), ("strict", (3, 4, 10, 11, 12, 13))]
)
def test_r1(service: Any, critic: Any, mode: str, hits: tuple[int, ...]) -> None:
    """R1: a substring test misses the token that begins a span, offsets do not."""
    critic.reply = "Toxic Span 1: yells\nToxic Span 2: kill you, bitch"
    result = score(service, "relc-toxicity", mode, rollout(R1), **HURT)
    assert result["rewards"] == marked(15, dict.fromkeys(hits, -0.5))


@pytest.mark.parametrize(
    ("mode", "expected"), [("compat", [-0.5, 0, 0, 0, -0.5]), ("strict", [0, 0, 0, -0.5, -0.5])]
)
def test_r2(service: Any, critic: Any, mode: str, expected: list[float]) -> None:
    """R2: a repeated word is hit where the critic pointed, not everywhere."""
    critic.reply = "Toxic Span 1: not bad"
    tokens = ["not", " good", ",", " not", " bad"]
    assert score(service, "relc-toxicity", mode, rollout(tokens), **HURT)["rewards"] == expected


@pytest.mark.parametrize(("mode", "empty"), [("compat", -0.5), ("strict", 0.0)])
def test_r3(service: Any, critic: Any, mode: str, empty: float) -> None:
    """R3: an empty token is a substring of everything; strict leaves it neutral and says so."""
    critic.reply = "None identified"
    result = score(
        service, "relc-toxicity", mode, rollout(["a", " b", ""]), negative_reward=-0.5, positive_reward=0.1
    )
    assert result["rewards"] == [0.1, 0.1, empty]
    assert result["empty_tokens"] == [2]


def test_r4(service: Any, critic: Any) -> None:
    """R4: free prose marks its own words in compat and is unparseable, with no rewards, in strict."""
    critic.reply = "No toxic language here."
    item = rollout(["No", " toxic", " here", " cat"])
    options = {"negative_reward": -0.5, "positive_reward": 0.1}
    assert score(service, "relc-toxicity", "compat", item, **options)["rewards"] == [-0.5, -0.5, -0.5, 0.1]
    failed = score(service, "relc-toxicity", "strict", item, **options)
    assert (failed["status"], failed["failure"]["kind"]) == ("failed", "unparseable")
    assert "rewards" not in failed
    zeros = score(service, "relc-toxicity", "strict", item, **options, on_error="zero")
    assert (zeros["status"], zeros["rewards"]) == ("failed", [0.0] * 4)


def test_r5_no_critique(service: Any, critic: Any) -> None:
    """R5: a critique that never came is zeros in compat and a failed rollout in strict."""
    critic.reply = None
    item = rollout(["a", " b"])
    options = {"negative_reward": -0.5, "positive_reward": 0.1}
    assert score(service, "relc-toxicity", "compat", item, **options)["rewards"] == [0.0, 0.0]
    assert score(service, "relc-toxicity", "strict", item, **options)["failure"]["kind"] == "engine"


def test_r5_not_queried(service: Any, critic: Any) -> None:
    """R5: above the gate the critic is spared; compat then pays every token, strict none."""
    item = rollout(["a", " b"], extrinsic_reward=0.95)
    options = {"negative_reward": -0.5, "positive_reward": 0.1, "threshold": 0.9}
    compat = score(service, "relc-toxicity", "compat", item, **options)
    strict = score(service, "relc-toxicity", "strict", item, **options)
    assert (compat["intrinsic"], compat["queried"]) == ([0.1, 0.1], False)
    assert (strict["intrinsic"], strict["queried"]) == ([0.0, 0.0], False)
    assert strict["rewards"] == [0.0, 0.95]
    assert critic.prompts == []


@pytest.mark.parametrize(("mode", "extra"), [("compat", {11: 0.5}), ("strict", {})])
def test_r6(service: Any, critic: Any, mode: str, extra: dict[int, float]) -> None:
    """R6: sentiment; the second " the" is praised by substring and not by offsets."""
    critic.reply = (
        "Identified Positive Text Span:\n[Span 1]: the most amazing\n"
        "Identified Negative Text Span:\n[Span 1]: quite boring"
    )
    result = score(service, "relc-sentiment", mode, rollout(R6))
    assert result["rewards"] == marked(14, {2: 0.5, 3: 0.5, 4: 0.5, 8: -0.5, 9: -0.5, **extra})


@pytest.mark.parametrize(("mode", "hits"), [("compat", (3, 4, 5, 8)), ("strict", (2, 3, 4, 5))])
def test_r7(service: Any, critic: Any, mode: str, hits: tuple[int, ...]) -> None:
    """R7: summarization; a quote that is not in the summary costs nothing in strict."""
    critic.reply = (
        "Span 1: and decided to change (Label: Irrelevant)\n"
        "Span 2: why did you decide to switch? (Label: Incoherent)"
    )
    result = score(service, "relc-summarization", mode, rollout(R7))
    assert result["rewards"] == marked(9, dict.fromkeys(hits, -0.5), rest=0.5)


@pytest.mark.parametrize(
    ("score_map", "shown"),
    [
        ("rouge", {0.2: "0.4", 1.5: "3.0", 4.9: "9.8", 5.0: "10", 7.0: "10"}),
        (
            "preference",
            {
                -2.0: "0",
                -1.5: "1",
                -1.0: "1",
                -0.75: "2",
                0.0: "3",
                0.01: "4",
                0.5: "4",
                1.7: "7",
                3.5: "10",
                3.6: "10",
            },
        ),
    ],
)
@pytest.mark.parametrize("mode", ["strict", "compat"])
def test_r8(service: Any, critic: Any, mode: str, score_map: str, shown: dict[float, str]) -> None:
    """R8: what the critic is told of the extrinsic reward."""
    critic.reply = "None identified"
    for extrinsic, expected in shown.items():
        item = rollout(R7, extrinsic_reward=extrinsic, prompt="A document.")
        result = score(service, "relc-summarization", mode, item, score_map=score_map, threshold=100.0)
        shown_score, _, best = result["score_shown"].partition("/")
        assert (float(shown_score), best) == (float(expected), "10")
        assert result["score_shown"] in critic.prompts[-1]


@pytest.mark.parametrize("mode", ["strict", "compat"])
def test_r9(service: Any, critic: Any, mode: str) -> None:
    """R9: the extrinsic reward joins the last token."""
    critic.reply = "Toxic Span 1: dirty rat"
    item = rollout(["you", " are", " dirty", " rat", "."], extrinsic_reward=0.8)
    if mode == "compat":  # the substring test misses a span's first token, and "." is in no span
        critic.reply = "Toxic Span 1: a dirty rat"
    result = score(service, "relc-toxicity", mode, item, **HURT)
    assert result["intrinsic"] == [0, 0, -0.5, -0.5, 0]
    assert result["rewards"] == [0, 0, -0.5, -0.5, 0.8]


@pytest.mark.parametrize(("mode", "variance"), [("compat", 3.4524), ("strict", 3.9286)])
def test_r10(service: Any, critic: Any, mode: str, variance: float) -> None:
    """R10: extrinsic rewards on one scale; strict carries the true running variance, compat the released one."""

    def call(extrinsic: list[float], moments: dict[str, float]) -> tuple[list[float], dict[str, float]]:
        items = [rollout(["a", " b"], extrinsic_reward=reward) for reward in extrinsic]
        request = {
            "task": "relc-toxicity",
            "mode": mode,
            "rollouts": items,
            "options": {**HURT, "threshold": 10.0},
            "extrinsic_normalizer": moments,
        }
        answer = service.post("/score/token", json=request).json()
        return [result["rewards"][-1] for result in answer["results"]], answer["batch"][
            "extrinsic_normalizer"
        ]

    first, moments = call([1, 2, 3, 4], {})
    assert first == pytest.approx([-1, -1 / 3, 1 / 3, 1])
    assert moments == pytest.approx({"count": 4, "mean": 2.5, "variance": 5 / 3})
    _, moments = call([2, 2, 5, 7], moments)
    assert moments["variance"] == pytest.approx(variance, abs=5e-5)


@pytest.mark.parametrize(("mode", "expected"), [("compat", [0, -0.5, -0.5, 0]), ("strict", [0, 0, 0, 0])])
def test_r11(service: Any, critic: Any, mode: str, expected: list[float]) -> None:
    """R11: a critic that fills the slot with "None identified" punishes nobody in strict."""
    critic.reply = "Toxic Span 1: None identified"
    result = score(service, "relc-toxicity", mode, rollout([" paid", " 1", ":", " cat"]), **HURT)
    assert result["rewards"] == expected


@pytest.mark.parametrize("mode", ["strict", "compat"])
def test_u1(service: Any, critic: Any, mode: str) -> None:
    """U1: offsets count code points: after an emoji "bad" is [5, 8)."""
    critic.reply = "Toxic Span 1:  bad" if mode == "compat" else "Toxic Span 1: bad"
    result = score(service, "relc-toxicity", mode, rollout(["Ok", " \N{THUMBS UP SIGN}", " ", "bad"]), **HURT)
    assert result["rewards"][3] == -0.5
    if mode == "strict":
        (span,) = result["spans"]
        assert (span["start"], span["end"], span["token_start"], span["token_end"]) == (5, 8, 3, 4)


@pytest.mark.parametrize("mode", ["strict", "compat"])
def test_u2(service: Any, critic: Any, mode: str) -> None:
    """U2: a decomposed quote is found in composed text only by the folding rung, never by changing the text."""
    composed = (
        "Caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{HOT BEVERAGE} na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve"
    )
    assert len(composed) == 12
    critic.reply = "Toxic Span 1: nai\N{COMBINING DIAERESIS}ve"
    tokens = [composed[:4], composed[4:6], " ", composed[7:]]
    exact = score(service, "relc-toxicity", mode, rollout(tokens), **HURT)
    if mode == "compat":
        assert exact["rewards"][3] == 0.0
        return
    assert exact["failure"]["kind"] == "unparseable"
    folded = score(service, "relc-toxicity", mode, rollout(tokens), **HURT, fuzzy=True)
    (span,) = folded["spans"]
    assert (span["start"], span["end"], span["match"]) == (7, 12, "unicode")
    assert folded["rewards"] == [0, 0, 0, -0.5]

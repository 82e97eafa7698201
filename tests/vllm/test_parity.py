"""The same request on ``transformers``, ``vllm`` and a real ``vllm serve``: one answer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

NAMES: Final = ("vllm", "openai")


@pytest.fixture(scope="module")
def expected(transformers_service: Any) -> Callable[..., Any]:
    """The answer of the transformers engine, asked for once."""
    known: dict[str, Any] = {}

    def ask(case: Any) -> Any:
        if case.name not in known:
            known[case.name] = transformers_service.post(case.route, case.body)
        return known[case.name]

    return ask


@pytest.fixture
def service(request: pytest.FixtureRequest, name: str) -> Any:
    """The service of an engine, by its name."""
    return request.getfixturevalue(f"{name}_service")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each case by its number: what it holds is known once the model has been taught."""
    if "number" in metafunc.fixturenames:
        metafunc.parametrize("number", range(COUNT))


COUNT: Final = 24


def test_every_case_is_asked(taught: Any) -> None:
    """No case is left out, and each is one that its engine was taught or that no engine is asked."""
    assert len(taught.cases) == COUNT


def test_what_was_taught_is_said(number: int, taught: Any, expected: Any, differences: Any) -> None:
    """The transformers engine says what the script said: the comparison is one of real answers, not of noise."""
    case = taught.cases[number]
    result = expected(case)["results"][0]
    assert result["status"] == ("failed" if "fails" in case.case else "ok"), result
    if "fails" in case.case:
        assert result["failure"]["kind"] == case.case["fails"]
    elif case.case.get("cut"):
        assert len(result["spans"]) == 1
        assert result.get("truncated_critique", False) is case.case.get("truncated", False)
    elif "likely" not in case.case:
        scripted = case.scripted["results"][0]
        differences.refuse(result, scripted)


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_the_same(
    number: int, name: str, service: Any, taught: Any, expected: Any, differences: Any
) -> None:
    """Spans, edits, criteria, failures: each engine answers as the others do."""
    case = taught.cases[number]
    answer, known = service.post(case.route, case.body), expected(case)
    if "fails" in case.case:
        for one in (answer, known):
            one["results"][0]["failure"].pop("detail", None)
    differences.refuse(answer, known)


@pytest.mark.parametrize("name", NAMES)
def test_company_changes_nothing(name: str, service: Any, taught: Any, expected: Any) -> None:
    """64 requests at once, of all tasks, get what each gets alone."""
    critics = [case for case in taught.cases if case.route == "/score/token"]
    asked = [critics[index % len(critics)] for index in range(64)]

    def ask(place: int) -> Any:
        # Without an extrinsic reward its weight changes nothing but the key: nothing comes from the cache.
        case, told = asked[place], {"alpha_ext": 2.0 + place}
        return service.post(case.route, {**case.body, "options": {**case.body.get("options", {}), **told}})

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(ask, range(64)))
    for case, answer in zip(asked, answers, strict=True):
        known = expected(case)["results"][0]
        result = answer["results"][0]
        assert result["status"] == known["status"]
        assert result.get("spans") == known.get("spans")
        assert result.get("critique") == known.get("critique")
        if "provenance" in result:
            assert not result["provenance"]["cached"]


@pytest.mark.parametrize("name", ["transformers", *NAMES])
def test_a_seed_gives_the_same_critique_again(name: str, service: Any, taught: Any) -> None:
    """At a temperature each seed writes a text of its own, and the same one whenever it is asked anew."""
    case = taught.cases[0]

    def said(seed: int, number: float) -> str:
        options = {"temperature": 2.0, "max_tokens": 24, "seed": seed, "alpha_ext": number}
        result = service.post(case.route, {**case.body, "options": options})["results"][0]
        assert result["status"] == "failed" or not result["provenance"]["cached"]
        critique: str = result["critique"] if result["status"] == "ok" else result["failure"]["critique"]
        return critique

    first = [said(seed, 2.0) for seed in range(4)]
    assert len(set(first)) == 4
    assert first == [said(seed, 3.0) for seed in range(4)]

"""From what a caller asks for to components that can be measured. Raises ``Rejected`` for what the service lacks."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, NoReturn, TypeVar

from ...domain.failure import FailureKind, Rejected
from ...domain.ports import Sampling, WeighsTokens
from ..cutting import approximation
from ..prompting import Prompt
from .components import (
    Component,
    Diversity,
    Extrinsic,
    Hook,
    HostedReward,
    Judge,
    Length,
    ModelReward,
    Rubric,
    Tools,
)
from .judging import GRAMMARS, PLACEHOLDERS, ByProbability, ByVotes
from .options import (
    BY_VOTES,
    LENGTH_TARGET,
    VOTING_TEMPERATURE,
    Activation,
    AnswerBy,
    ComponentOptions,
    Kind,
    SequenceOptions,
)

PROMPT_OF: Final = {Kind.JUDGE: "judge", Kind.RUBRIC: "criterion"}
REASONED: Final = "-reasoned"
"""What the name of the prompt ends in that lets the critic reason first."""
T = TypeVar("T")


def components_of(options: SequenceOptions, tools: Tools) -> tuple[Component, ...]:
    """The components that a call asks for, in order; all hosted models where it names none."""
    asked = options.components
    if asked is None:
        asked = tuple(ComponentOptions(name=name, model=name) for name in tools.rewards)
    return tuple(_component(one, place, options, tools) for place, one in enumerate(asked))


def _component(asked: ComponentOptions, place: int, options: SequenceOptions, tools: Tools) -> Component:
    match asked.kind:
        case Kind.MODEL:
            return _hosted(asked, place, options, tools)
        case Kind.TFIDF_DIVERSITY:
            table = tools.frequencies
            return _made(asked, Diversity(table), {"frequencies": table.ref.identity()})
        case Kind.LENGTH:
            target = asked.length_target or LENGTH_TARGET
            return _made(asked, Length(target), {"length_target": target})
        case Kind.EXTRINSIC:
            return _made(asked, Extrinsic(), {})
        case Kind.HOOK:
            function = _chosen(tools.hooks, asked.hook, place, "hook", "ASSAY_SEQUENCE__HOOKS")
            return _made(asked, Hook(function), {"hook": asdict(function.source)})
        case Kind.JUDGE | Kind.RUBRIC:
            return _questioned(asked, place, tools)


def _hosted(asked: ComponentOptions, place: int, options: SequenceOptions, tools: Tools) -> Component:
    hosted: HostedReward = _chosen(tools.rewards, asked.model, place, "model", "ASSAY_SEQUENCE__COMPONENTS")
    ref = hosted.engine.model
    whole = {"pair": hosted.label} if hosted.pair else {"end": True}
    read = whole if hosted.cut is None else {"cut": asdict(hosted.cut)}
    weigher = {} if hosted.weigher is None else _weighing(hosted.weigher)
    return Component(
        name=asked.name,
        kind=Kind.MODEL,
        source=ModelReward(hosted, options.window),
        weight=asked.weight,
        activation=asked.activation or hosted.activation,
        record={
            "model": ref.identity(),
            "read": read,
            "center": hosted.center,
            "scale": hosted.scale,
            **weigher,
        },
        model=ref,
    )


def _weighing(weigher: WeighsTokens) -> dict[str, Any]:
    return {"entropy_model": weigher.model.identity(), **approximation(weigher)}


def _made(
    asked: ComponentOptions, source: Any, record: Mapping[str, Any], *, reproducible: bool = True
) -> Component:
    return Component(
        asked.name,
        Kind(asked.kind),
        source,
        asked.weight,
        asked.activation or Activation.RAW,
        record,
        reproducible=reproducible,
    )


def _questioned(asked: ComponentOptions, place: int, tools: Tools) -> Component:
    if tools.critic is None:
        _refuse(
            place,
            "kind",
            "the embedded critic answers no questions: name a real model with ASSAY_CRITIC__ENGINE and "
            "ASSAY_CRITIC__MODEL",
        )
    prompt = tools.prompts[PROMPT_OF[asked.kind] + REASONED * asked.reasoning]
    if unknown := prompt.placeholders - PLACEHOLDERS:
        raise ValueError(f"prompt {prompt.name}: nothing fills {sorted(unknown)}")
    way, told = _way(asked, place, prompt, tools)
    source = (
        Judge(way, prompt, asked.question or "")
        if asked.kind is Kind.JUDGE
        else Rubric(way, prompt, asked.criteria)
    )
    asking = (
        {"question": asked.question} if asked.kind is Kind.JUDGE else {"criteria": _plain(asked.criteria)}
    )
    record = {**asking, **told, "prompt": asdict(prompt.ref), "critic": tools.critic.model.identity()}
    reproducible = not isinstance(way, ByVotes) or all(one.reproducible for one in way.samplings)
    return _made(asked, source, record, reproducible=reproducible)


def _way(
    asked: ComponentOptions, place: int, prompt: Prompt, tools: Tools
) -> tuple[ByProbability | ByVotes, dict[str, Any]]:
    """How the critic answers, and what the recipe says of it."""
    by = asked.answer_by
    if by is None:
        counted = not tools.chooses or any(getattr(asked, field) not in (None, False) for field in BY_VOTES)
        by = AnswerBy.VOTES if counted else AnswerBy.PROBABILITY
    if by is AnswerBy.PROBABILITY:
        if not tools.chooses:
            _refuse(place, "answer_by", "this critic's engine tells no probabilities: count `votes`")
        return ByProbability(tools.critic), {"answer_by": by.value}
    votes = asked.n_votes or 1
    temperature = asked.temperature
    if temperature is None:
        temperature = VOTING_TEMPERATURE if votes > 1 else 0.0
    samplings = tuple(
        Sampling(
            asked.max_tokens or prompt.defaults["max_tokens"],
            temperature,
            seed=None if asked.seed is None else asked.seed + vote,
        )
        for vote in range(votes)
    )
    told = {
        "answer_by": by.value,
        "n_votes": votes,
        "temperature": temperature,
        "seed": asked.seed,
        "max_tokens": samplings[0].max_tokens,
    }
    return ByVotes(tools.critic, samplings, GRAMMARS[prompt.reply]), told


def _plain(criteria: Sequence[Any]) -> list[dict[str, Any]]:
    return [asdict(criterion) for criterion in criteria]


def _chosen(hosted: Mapping[str, T], name: str | None, place: int, field: str, setting: str) -> T:
    """The thing of that name, or the only one."""
    if name is None and len(hosted) == 1:
        return next(iter(hosted.values()))
    if name is None or name not in hosted:
        known = ", ".join(hosted) or "none"
        missing = f"no {field} {name!r}" if name is not None else f"say which {field}"
        _refuse(place, field, f"{missing}: this service has {known}. More are named with {setting}")
    return hosted[name]


def _refuse(place: int, field: str, detail: str) -> NoReturn:
    raise Rejected(FailureKind.INVALID, detail, pointer=f"/options/components/{place}/{field}")

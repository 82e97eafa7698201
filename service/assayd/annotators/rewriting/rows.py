"""Training rows in the shapes of RLMEC's released code, so that its trainer can run on them (papers.md 3.1 to 3.3)."""

from collections.abc import Mapping
from typing import Any

from ...domain.rewriting import Branch, ProbeAnnotation, RewriteAnnotation
from ...domain.rollout import Rollout
from ..cutting import content_end
from ..exhibit import prompt_text
from ..options import Mode
from ..prompting import Prompt
from .exhibit import texts_of
from .lines import split_steps, step_at
from .starting import RELEASED_CORRECT


def record(rollout: Rollout, annotation: RewriteAnnotation, mode: Mode) -> dict[str, Any]:
    """The eight fields of ``*_tm.jsonl``. ``is_correct`` says that the *rewrite* is verified.

    ``error_step`` -1 means that the prediction is right, and its readers pay it for that: in strict mode it stands
    where that is known and nowhere else.
    """
    return {
        "question": prompt_text(rollout.prompt),
        "solution": rollout.reference or "",
        "prediction": rollout.completion.text,
        "error_step": _error_step(rollout, annotation, mode),
        "error_token": "",
        "correct_step": "",
        "fix_pred": annotation.rewritten,
        "is_correct": annotation.verified is True,
    }


def training_rows(
    rollout: Rollout, annotation: RewriteAnnotation, *, locate: Prompt, fix: Prompt, separator: str
) -> tuple[dict[str, str], ...]:
    """What a rewriter learns from: a locate and a rewrite row, or a copy row for a prediction that is right.

    Each has ``task``, ``input`` and ``output``. Nothing comes of a rewrite that is not verified, nor of a copy whose
    prediction is not known to be right.
    """
    if annotation.verified is not True:
        return ()
    texts = texts_of(rollout, separator=separator)
    if annotation.correct is True:
        return (_row("copy", fix, texts, rollout.completion.text),)
    rows = (_row("rewrite", fix, texts, annotation.rewritten),)
    if annotation.error_step is None:
        return rows
    return (_row("locate", locate, texts, f"The first error step is [{annotation.error_step}]"), *rows)


def rlmec_row(
    rollout: Rollout, annotation: RewriteAnnotation, probe: ProbeAnnotation
) -> dict[str, Any] | None:
    """The six fields of the paper's trainer; None unless the rewrite is verified and log-probabilities are there.

    ``reward`` and ``ref_prob`` have one number per token of ``output`` and one for the end marker,
    ``weight_regular`` one per token of ``regular`` and one for the end marker. A marker that nobody weighed (a
    truncated prediction has none) is paid 0, and its log-probability is then of no account.
    """
    logprobs = probe.ref_logprobs
    if annotation.verified is not True or logprobs is None or _wrong_is_paid(annotation, probe):
        return None
    end = content_end(rollout.completion)
    reward, ref_prob = list(probe.intrinsic[: end + 1]), list(logprobs[: end + 1])
    if len(reward) == end:
        reward.append(probe.end.reward if probe.end else 0.0)
        ref_prob.append((probe.end.ref_logprob if probe.end else None) or 0.0)
    return {
        "input": prompt_text(rollout.prompt),
        "output": rollout.completion.text,
        "regular": annotation.rewritten,
        "reward": reward,
        "ref_prob": ref_prob,
        "weight_regular": list(annotation.weights),
    }


def _wrong_is_paid(annotation: RewriteAnnotation, probe: ProbeAnnotation) -> bool:
    return probe.branch is Branch.CORRECT and annotation.correct is not True


def _error_step(rollout: Rollout, annotation: RewriteAnnotation, mode: Mode) -> int:
    if annotation.error_step is not None:
        return annotation.error_step
    if annotation.correct is True or mode is Mode.COMPAT:
        return RELEASED_CORRECT
    first = annotation.edits[0].span.start if annotation.edits else 0
    return step_at(split_steps(rollout.completion.text, "\n"), first) or 0


def _row(task: str, prompt: Prompt, texts: Mapping[str, str], output: str) -> dict[str, str]:
    return {"task": task, "input": prompt.render(texts), "output": output}

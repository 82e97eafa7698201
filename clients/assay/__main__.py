"""The command line: ``assay score FILE.jsonl --task relc-toxicity`` and ``assay check [URL]``."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from . import __version__
from .client import Client
from .configuration import Configuration
from .errors import AssayError

FAILED: Final = 1
"""Some rollouts were not judged, or the service is not ready."""
WRONG_USE: Final = 2
_CHECK_S: Final = 10.0
_METHODS: Final = ("critic", "grm", "segment", "prefix_diff", "attention", "implicit_prm", "sequence")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; leaves with 0, 1 or 2."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        sys.exit(run(options))
    except (AssayError, ValueError, OSError) as error:
        print(f"assay: {error}", file=sys.stderr)
        sys.exit(WRONG_USE if isinstance(error, (ValueError, OSError)) else FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="assay", description="Dense rewards from a running service.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    score = commands.add_parser(
        "score",
        help="score a file of rollouts",
        description="Prints one JSON line per rollout, in the order of the file, in the service's shapes. "
        "Leaves with 1 where some rollouts were not judged.",
    )
    score.add_argument(
        "file", metavar="FILE.jsonl", help='one {"prompt", "completion", ...} a line; - reads stdin'
    )
    score.add_argument("--method", choices=_METHODS, default="critic", help="default: %(default)s")
    score.add_argument(
        "--task", help="what the critic looks for, such as relc-toxicity; method critic needs it"
    )
    score.add_argument("--options", type=_json, default={}, metavar="JSON", help="the method's own options")
    score.add_argument("--tokenizer", metavar="NAME[@REVISION]", help="the policy's, for token ids")
    score.add_argument("--url", help="default: $ASSAY_URL, else http://127.0.0.1:8000")
    score.add_argument(
        "--timeout-s", type=float, help="for the whole file; default: $ASSAY_TIMEOUT_S, else 60"
    )
    score.set_defaults(run=_score)
    check = commands.add_parser(
        "check",
        help="say whether a service can be used",
        description="Says whether the service answers and is ready, and what it judges with. Leaves with 1 where not.",
    )
    check.add_argument(
        "url", nargs="?", metavar="URL", help="default: $ASSAY_URL, else http://127.0.0.1:8000"
    )
    check.set_defaults(run=_check)
    return parser


def _score(options: argparse.Namespace) -> int:
    if options.method == "critic" and options.task is None:
        raise ValueError("method critic needs --task, such as relc-toxicity")
    rollouts = [*_rollouts(options.file)]
    failed = 0
    if rollouts:
        with Client(options.url, timeout_s=options.timeout_s) as client:
            for result in _results(client, rollouts, options):
                failed += result["status"] == "failed"
                print(json.dumps(result, ensure_ascii=False), flush=True)
    if failed:
        print(f"assay: {failed} of {len(rollouts)} rollouts were not judged", file=sys.stderr)
    return FAILED if failed else 0


def _results(
    client: Client, rollouts: Sequence[Mapping[str, Any]], options: argparse.Namespace
) -> Iterator[Mapping[str, Any]]:
    name, _, revision = (options.tokenizer or "").partition("@")
    tokenizer = {"name": name, **({"revision": revision} if revision else {})} if name else None
    said: Any = {"options": options.options, "tokenizer": tokenizer}
    match options.method:
        case "critic":
            yield from (one.raw for one in client.score_token(rollouts, task=options.task, **said).results)
        case "grm":
            yield from (one.raw for one in client.score_token(rollouts, method="grm", **said).results)
        case "sequence":
            yield from (one.raw for one in client.score_sequence(rollouts, **said).results)
        case method:
            yield from (one.raw for one in client.score_segment(rollouts, method=method, **said).results)


def _rollouts(file: str) -> Iterator[Mapping[str, Any]]:
    text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rollout = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{file}, line {number} is not JSON: {error}") from None
        if not isinstance(rollout, dict) or "completion" not in rollout:
            raise ValueError(f'{file}, line {number}: a rollout is {{"prompt": ..., "completion": ...}}')
        completion = rollout["completion"]
        yield {**rollout, "completion": {"text": completion} if isinstance(completion, str) else completion}


def _check(options: argparse.Namespace) -> int:
    configuration = Configuration.of(options.url, None, None, None)
    url = configuration.url
    with httpx.Client(base_url=url, headers=configuration.headers, timeout=_CHECK_S) as http:
        try:
            ready, info = http.get("/readyz"), http.get("/info")
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            print(f"{url} does not answer ({why}). Start it with `assayd serve`, or name another URL.")
            return FAILED
    if info.status_code in (401, 403):
        why = "wants a key" if configuration.api_key is None else "does not take this key"
        print(f"{url} {why}: set ASSAY_API_KEY to the one that `assayd tenants add` printed for you.")
        return FAILED
    try:
        said, told = ready.json(), info.json()
        parts, complaints = said.get("parts"), said.get("complaints") or {}
    except (ValueError, AttributeError):
        parts, complaints, told = None, {}, {}
    if not isinstance(parts, dict) or not isinstance(told, dict):
        print(f"{url} answers, but not as this service does (HTTP {ready.status_code}). Is the port right?")
        return FAILED
    print(
        f"{url} is {'ready' if ready.is_success else 'not ready'}: assayd {told.get('service_version', '?')}"
    )
    for role, model in told.get("models", {}).items():
        print(f"  {role}: {_model(model)}")
    waiting = ", ".join(name for name, is_ready in parts.items() if not is_ready)
    if waiting and ready.is_success:
        print(f"Away: {waiting}. Rollouts are judged without; the service's log says more.")
    elif waiting:
        print(f"Not ready: {waiting}. Models may still be loading; the service's log says more.")
    for name, complaint in complaints.items():
        print(f"  {name}: {complaint}")
    return 0 if ready.is_success else FAILED


def _model(model: object) -> str:
    if not isinstance(model, dict):
        return "none" if model is None else str(model)
    name, revision = model.get("name", "?"), str(model.get("revision", ""))
    return f"{name} ({revision[:19]})" if revision else str(name)


def _json(text: str) -> Any:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


if __name__ == "__main__":
    main()

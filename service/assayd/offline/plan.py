"""What a run is: its input, its columns, and what is asked of every annotation. Going on means the same plan."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from .columns import Columns
from .kinds import KINDS, Kind
from .stopping import Stopped
from .tables import Facts

FORMAT: Final = 1
_OURS: Final = {
    "rollouts": "they are the rows",
    "timeout_s": "say --timeout-s",
    "extrinsic_normalizer": "its moments would depend on which call came first",
}
_OUR_OPTIONS: Final = {"dataset_weight_sum": "it is added up over the rows"}
GROUP_MEAN: Final = "group_mean"
_ABSENT: Final = "nothing"


class Plan(msgspec.Struct, frozen=True):
    """Everything besides the service's recipes that the output follows from.

    ``asked``: by annotation, what every call says besides its rollouts.
    """

    input_sha256: str
    input_rows: int
    columns: dict[str, str]
    asked: dict[str, dict[str, Any]]
    format: int = FORMAT

    @property
    def kinds(self) -> list[Kind]:
        """The annotations, in the order in which they were named."""
        return [KINDS[name] for name in self.asked]

    @property
    def grouped(self) -> bool:
        """Whether what a row comes to depends on the other rows of its prompt."""
        return any(map(goes_by_group, self.asked.values()))


def goes_by_group(call: Mapping[str, Any]) -> bool:
    """Whether a call compares the rollouts of one prompt with each other."""
    options = call.get("options")
    return isinstance(options, Mapping) and options.get("value_source") == GROUP_MEAN


def plan_of(facts: Facts, columns: Columns, asked: Mapping[str, Mapping[str, Any]]) -> Plan:
    """The plan of a run."""
    return Plan(
        facts.sha256,
        facts.rows,
        dict(columns.named),
        {name: dict(call) for name, call in asked.items()},
    )


def asked_of(
    names: str,
    *,
    task: str | None = None,
    tokenizer: str | None = None,
    options: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """What is asked of each annotation in ``names`` (comma-separated); raises ``Stopped`` for what cannot be.

    ``options`` names a JSON or TOML file with a table per annotation, whose keys are those of the wire's call.
    """
    kinds = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in kinds if name not in KINDS]:
        raise Stopped(f"--with {', '.join(unknown)}: the annotations are {', '.join(KINDS)}")
    if not kinds:
        raise Stopped(f"--with: name at least one of {', '.join(KINDS)}")
    tables = _read(options)
    if unknown := sorted(tables.keys() - set(kinds)):
        raise Stopped(f"{options}: {', '.join(unknown)} is not among --with {names}")
    asked = {name: dict(tables.get(name, {})) for name in kinds}
    for name, call in asked.items():
        for key, why in _OURS.items():
            if key in call:
                raise Stopped(f"{options}: {name}.{key} cannot be set here: {why}")
        for key in (call.get("options") or {}).keys() & _OUR_OPTIONS.keys():
            raise Stopped(f"{options}: {name}.options.{key} cannot be set here: {_OUR_OPTIONS[key]}")
        if tokenizer is not None:
            call.setdefault("tokenizer", _tokenizer(tokenizer))
    if task is not None and "token" in asked:
        asked["token"]["task"] = task
    if (
        "token" in asked
        and asked["token"].get("method", "critic") == "critic"
        and "task" not in asked["token"]
    ):
        raise Stopped("the critic of `token` needs a task: say --task math-steps, or another one")
    return asked


def differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """What has changed from one nest of values to another, leaf by leaf, in words."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys((*before, *now)):
            yield from differences(before.get(name), now.get(name), f"{path}.{name}" if path else str(name))
    elif before != now:
        yield f"{path}: {_shown(before)} before, {_shown(now)} now"


def _shown(value: Any) -> str:
    return _ABSENT if value is None else json.dumps(value, ensure_ascii=False)


def _tokenizer(written: str) -> dict[str, str]:
    name, separator, revision = written.rpartition("@")
    return {"name": name, "revision": revision} if separator else {"name": written}


def _read(path: Path | None) -> dict[str, dict[str, Any]]:
    if path is None:
        return {}
    try:
        content = path.read_text(encoding="utf-8")
        tables = tomllib.loads(content) if path.suffix == ".toml" else json.loads(content)
    except (OSError, ValueError) as error:
        raise Stopped(f"--options {path}: {error}") from error
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise Stopped(f"--options {path}: write a table per annotation, such as [token.options]")
    return tables

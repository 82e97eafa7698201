"""Runs over real ports: what a service does to a run, and what a second run makes of the first one's output."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assayd.offline.finishing import Finished
from assayd.offline.stopping import Stopped

Run = Callable[..., Finished]


@pytest.fixture
def data(tmp_path: Path, lines: Any) -> Path:
    """Twenty rows."""
    path: Path = lines.write(tmp_path / "in.jsonl", lines.make(20))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the output goes."""
    return tmp_path / "out.jsonl"


def text(index: int) -> str:
    """The completion of a row."""
    return f"{index} + 1 = {index + 1}.\nA: {index + 1}"


def judged(stub: Any, path: str = "/score/token") -> list[str]:
    """Every text that a route was asked for, in order."""
    return sorted(
        (
            rollout["completion"]["text"]
            for call in stub.calls
            if call["path"] == path
            for rollout in call["rollouts"]
        ),
        key=lambda said: int(said.split()[0]),
    )


def test_a_service_here_and_one_on_a_port_give_the_same_file(
    run_annotate: Run, service_url: str, tmp_path: Path, data: Path, lines: Any
) -> None:
    """Byte for byte; every row is the input's with one more field per annotation."""
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    run_annotate(data, here, "token,rewrite")
    run_annotate(data, there, "token,rewrite", url=service_url, batch=7, in_flight=1)
    assert here.read_bytes() == there.read_bytes()
    for index, (before, after) in enumerate(zip(lines.make(20), lines.read(here), strict=True)):
        token, rewrite = after.pop("assay_token"), after.pop("assay_rewrite")
        assert after == before
        assert token["status"] == rewrite["status"] == "ok"
        assert len(token["rewards"]) == len(token["offsets"]) > 0
        assert rewrite["rewritten"] == text(index)
        assert not {"id", "provenance"} & token.keys()
        assert len(token["key"]) == 64


def test_a_finished_run_is_not_asked_for_again(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path
) -> None:
    """The service may be gone: the output is written anew from the journal."""
    run_annotate(data, out, "token", url=stub_url)
    written, calls = out.read_bytes(), len(stub.calls)
    out.unlink()
    run_annotate(data, out, "token", url="http://127.0.0.1:9")
    assert out.read_bytes() == written
    assert len(stub.calls) == calls


def test_a_run_goes_on_behind_the_last_journalled_row(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path, tmp_path: Path
) -> None:
    """With half a frame at the end: only what is missing is asked for, and the file is that of one run."""
    whole = tmp_path / "whole.jsonl"
    run_annotate(data, whole, "token", url=stub_url)
    run_annotate(data, out, "token", url=stub_url)
    journal = out.with_name("out.jsonl.assay") / "journal"
    journal.write_bytes(journal.read_bytes()[:-3])
    out.unlink()
    stub.calls.clear()
    run_annotate(data, out, "token", url=stub_url)
    assert judged(stub) == [text(index) for index in range(16, 20)]
    assert out.read_bytes() == whole.read_bytes()


def test_failed_rows_keep_their_kind_and_are_retried_when_asked(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path, tmp_path: Path, lines: Any
) -> None:
    """Only what has failed is asked for again, and only that changes."""
    stub.failing = {text(3), text(11)}
    finished = run_annotate(data, out, "token,segment", url=stub_url)
    assert finished.summary.failed == 4
    rows = lines.read(out)
    assert rows[3]["assay_token"] == {
        "status": "failed",
        "failure": {"kind": "engine", "detail": "no answer"},
    }
    stub.calls.clear()
    run_annotate(data, out, "token,segment", url=stub_url)
    assert not stub.calls
    stub.failing = {text(11)}
    finished = run_annotate(data, out, "token,segment", url=stub_url, retry_failed=True)
    assert judged(stub) == judged(stub, "/score/segment") == [text(3), text(11)]
    assert finished.summary.failed == 2
    stub.failing = set()
    run_annotate(data, out, "token,segment", url=stub_url, retry_failed=True)
    clean = tmp_path / "clean.jsonl"
    run_annotate(data, clean, "token,segment", url=stub_url)
    assert out.read_bytes() == clean.read_bytes()
    assert not (out.with_name("out.jsonl.assay") / "journal.retry").exists()


def test_a_retry_that_was_stopped_goes_on(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path
) -> None:
    """Rows that it had retried by then are not asked for a third time."""
    stub.failing = {text(2), text(18)}
    run_annotate(data, out, "token", url=stub_url)
    stub.failing = set()
    stub.calls.clear()
    stub.answers.extend([(200, {}, stub._answer({"path": "/score/token", "rollouts": [rollout(2)]}, {})[2])])
    stub.answers.extend([(401, {}, {"kind": "unauthenticated", "detail": "who is there?"})])
    with pytest.raises(Stopped, match="who is there"):
        run_annotate(data, out, "token", url=stub_url, retry_failed=True, in_flight=1)
    stub.calls.clear()
    finished = run_annotate(data, out, "token", url=stub_url, in_flight=1)
    assert judged(stub) == [text(18)]
    assert finished.summary.failed == 0


def rollout(index: int) -> dict[str, Any]:
    """One rollout of a call."""
    return {"id": str(index), "completion": {"text": text(index)}}


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_waited_for_as_long_as_it_says(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path, status: int
) -> None:
    """No row fails for it."""
    busy = {"kind": "overloaded", "detail": "later"}
    stub.answers.extend([(status, {"Retry-After": "1"}, busy), (status, {}, busy)])
    began_s = time.monotonic()
    finished = run_annotate(data, out, "token", url=stub_url)
    assert finished.summary.failed == 0
    assert len(stub.calls) == 5 + 2
    assert time.monotonic() - began_s >= 1


def test_a_service_that_stays_away_stops_the_run_and_loses_nothing(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path
) -> None:
    """After the time that was given; the next run goes on."""
    gone = (503, {}, {"kind": "engine", "detail": "still loading"})
    stub.answers.extend([*[gone] * 50])
    with pytest.raises(Stopped, match="still loading"):
        run_annotate(data, out, "token", url=stub_url, patience_s=1.0)
    assert not out.exists()
    stub.answers.clear()
    assert run_annotate(data, out, "token", url=stub_url).summary.failed == 0
    with pytest.raises(Stopped, match=r"no answer from http://127\.0\.0\.1:9"):
        run_annotate(data, out.with_name("other.jsonl"), "token", url="http://127.0.0.1:9", patience_s=0.5)


def test_a_row_that_a_whole_call_is_refused_for_fails_alone(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path, lines: Any
) -> None:
    """Malformed, too large by itself, or crashing the service: its neighbours are judged."""
    stub.malformed, stub.crashes_on, stub.too_many = {text(5), text(6)}, {text(9)}, 2
    run_annotate(data, out, "token", url=stub_url)
    failures = {
        row["id"]: row["assay_token"]["failure"]
        for row in lines.read(out)
        if row["assay_token"]["status"] == "failed"
    }
    assert {name: failure["kind"] for name, failure in failures.items()} == {
        "r5": "invalid",
        "r6": "invalid",
        "r9": "internal",
    }
    assert failures["r5"]["detail"] == "prompt: no prompt like that"


def test_rows_that_do_not_say_what_to_judge_fail_and_are_kept(
    run_annotate: Run, stub: Any, stub_url: str, tmp_path: Path, out: Path, lines: Any
) -> None:
    """As they came, to the byte; nothing is sent for them."""
    kept = [
        '{"prompt": "p", "completion": null, "n": 1.50, "big": 123456789012345678901234567890}',
        "{}",
        '{"prompt": "p", "completion": "\\ud800"}',
        '{"prompt": "p", "completion": "c", "reward": NaN}',
        '{"prompt": {"role": "user"}, "completion": "c"}',
    ]
    good = json.dumps({**lines.make(1)[0], "note": math.nan})
    source = tmp_path / "strange.jsonl"
    source.write_text("\n\n".join([*kept, good]) + "\n")
    run_annotate(source, out, "token", url=stub_url)
    *failed, last = out.read_text().splitlines()
    for before, after in zip(kept, failed, strict=True):
        assert after.startswith(before[:-1])
        assert json.loads(after)["assay_token"]["failure"]["kind"] == "invalid"
    assert json.loads(last)["assay_token"]["status"] == "ok"
    assert judged(stub) == [text(0)]


def test_whatever_has_changed_is_named_and_refused(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path, tmp_path: Path
) -> None:
    """Options, columns, annotations, the input; --fresh begins anew."""
    options = tmp_path / "options.toml"
    options.write_text("[token.options]\nnegative_reward = -0.5\n")
    run_annotate(data, out, "token", url=stub_url, options=options)
    before = out.read_bytes()
    options.write_text("[token.options]\nnegative_reward = -1.0\n")
    refusals = {
        r"token\.options\.negative_reward: -0\.5 before, -1\.0 now": {"options": options},
        r"asked\.segment": {"with_": "token,segment"},
        "task": {"task": "relc-toxicity"},
        r"columns\.reference: nothing before, \"id\" now": {"column": ["reference=id"]},
    }
    options_before = tmp_path / "before.toml"
    options_before.write_text("[token.options]\nnegative_reward = -0.5\n")
    for named, change in refusals.items():
        said = {"with_": "token", "options": options_before, **change}
        with pytest.raises(Stopped, match=named):
            run_annotate(data, out, said.pop("with_"), url=stub_url, **said)
    data.write_text(data.read_text().replace("What is 4", "What was 4"))
    with pytest.raises(Stopped, match="input_sha256"):
        run_annotate(data, out, "token", url=stub_url, options=options_before)
    assert out.read_bytes() == before
    run_annotate(data, out, "token", url=stub_url, options=options_before, fresh=True)
    assert out.read_bytes() != before


def test_a_changed_recipe_is_named_and_refused(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path
) -> None:
    """Between runs and within one: rows judged by two recipes never share a file."""
    stub.failing = {text(0)}
    run_annotate(data, out, "token", url=stub_url)
    stub.recipe = {"id": "sha256:two", "options": {"alpha": 2.0}}
    with pytest.raises(Stopped, match=r"options\.alpha: 1\.0 before, 2\.0 now"):
        run_annotate(data, out, "token", url=stub_url, retry_failed=True)
    other = out.with_name("other.jsonl")
    one = {"id": "sha256:one", "options": {"alpha": 1.0}}
    mixed = stub._answer({"path": "/score/token", "rollouts": [rollout(index) for index in range(4)]}, {})[2]
    stub.answers.append((200, {}, {**mixed, "recipe": one}))
    with pytest.raises(Stopped, match=r"options\.alpha"):
        run_annotate(data, other, "token", url=stub_url, in_flight=1)


def test_a_call_that_was_refused_at_once_can_be_put_otherwise(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path
) -> None:
    """Nothing was judged yet, so nothing holds the run to its first words."""
    stub.answers.extend([(422, {}, {"kind": "invalid", "pointer": "/task", "detail": "no such task"})] * 3)
    with pytest.raises(Stopped, match="no such task"):
        run_annotate(data, out, "token", url=stub_url, task="nonsense")
    stub.answers.clear()
    assert run_annotate(data, out, "token", url=stub_url, task="math-steps").summary.failed == 0


def test_files_that_are_in_the_way_are_refused(
    run_annotate: Run, data: Path, out: Path, tmp_path: Path, lines: Any
) -> None:
    """A file of someone else's, the input itself, columns of an earlier run, what is no data set."""
    out.write_text("precious")
    with pytest.raises(Stopped, match="--fresh"):
        run_annotate(data, out, "token")
    assert out.read_text() == "precious"
    with pytest.raises(Stopped, match="OUT is IN"):
        run_annotate(data, data, "token")
    annotated = lines.write(tmp_path / "annotated.jsonl", [{"completion": "c", "assay_token": 1}])
    with pytest.raises(Stopped, match="--prefix"):
        run_annotate(annotated, tmp_path / "new.jsonl", "token")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"completion": "c"}\n{"completion": ')
    with pytest.raises(Stopped, match="line 2"):
        run_annotate(broken, tmp_path / "new.jsonl", "token")
    with pytest.raises(Stopped, match="must end in"):
        run_annotate(data, tmp_path / "new.csv", "token")


def test_what_cannot_be_asked_for_is_refused(
    run_annotate: Run, data: Path, out: Path, tmp_path: Path
) -> None:
    """Before anything is opened."""
    options = tmp_path / "options.json"
    for content, refusal in {
        '{"segment": {}}': "segment is not among",
        '{"token": {"timeout_s": 3}}': "--timeout-s",
        '{"token": {"extrinsic_normalizer": {}}}': "came first",
        '{"token": {"options": {"dataset_weight_sum": 1.0}}}': "added up",
        '{"token": 3}': "a table per annotation",
        "{": "--options",
    }.items():
        options.write_text(content)
        with pytest.raises(Stopped, match=refusal):
            run_annotate(data, out, "token", options=options)
    with pytest.raises(Stopped, match="tokens"):
        run_annotate(data, out, "tokens")
    with pytest.raises(Stopped, match="--task"):
        run_annotate(data, out, "token", task=None)


def test_an_answer_that_is_none_stops_the_run(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path
) -> None:
    """Another server, results in another order, no URL at all: nothing of it is journalled."""
    stub.answers.append((200, {}, {"hello": "world"}))
    with pytest.raises(Stopped, match="hello"):
        run_annotate(data, out, "token", url=stub_url)
    rollouts = [rollout(index) for index in (1, 0, 2, 3)]
    stub.answers.clear()
    stub.answers.append((200, {}, stub._answer({"path": "/score/token", "rollouts": rollouts}, {})[2]))
    with pytest.raises(Stopped, match="another order"):
        run_annotate(data, out, "token", url=stub_url, in_flight=1)
    stub.answers.append((404, {}, {"kind": "invalid", "detail": "Not Found"}))
    with pytest.raises(Stopped, match="404"):
        run_annotate(data, out, "token", url=stub_url, in_flight=1)
    with pytest.raises(Stopped, match="http://HOST:PORT"):
        run_annotate(data, out, "token", url="localhost:8000")
    assert run_annotate(data, out, "token", url=stub_url).summary.failed == 0


def test_a_column_that_is_not_there_is_refused(run_annotate: Run, data: Path, out: Path) -> None:
    """A slip must not look like rows without a reference."""
    with pytest.raises(Stopped, match="the columns are id, prompt"):
        run_annotate(data, out, "token", column=["reference=anser"])


def test_rows_carry_only_what_an_annotation_takes(
    run_annotate: Run, stub: Any, stub_url: str, tmp_path: Path, out: Path, lines: Any
) -> None:
    """The value of a prompt goes to the sequence route, which alone knows it; the key comes from the environment."""
    rows = [{**row, "value": 0.25} for row in lines.make(3)]
    source = lines.write(tmp_path / "valued.jsonl", rows)
    run_annotate(source, out, "token,sequence", url=stub_url)
    for call in stub.calls:
        for sent in call["rollouts"]:
            assert ("value" in sent) == (call["path"] == "/score/sequence")
            assert sent["reference"].startswith("A: ")


def test_the_key_comes_from_the_environment(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bearer token."""
    monkeypatch.setenv("ASSAY_API_KEY", "open sesame")
    run_annotate(data, out, "token", url=stub_url)
    assert {headers["authorization"] for headers in stub.headers} == {"Bearer open sesame"}


def test_sampling_weights_are_of_the_whole_data_set(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path, lines: Any
) -> None:
    """In proportion to positive advantages, over all calls; failed rows and those without a value have none."""
    stub.advantage_of = lambda said: None if said == text(7) else float(int(said.split()[0]) - 10)
    stub.failing = {text(19)}
    finished = run_annotate(data, out, "sequence", url=stub_url, batch=3)
    rows = [row["assay_sequence"] for row in lines.read(out)]
    known = [row for row in rows if row.get("advantage") is not None]
    total = sum(range(1, 9))
    assert [row["sampling_weight"] for row in known] == pytest.approx(
        [max(row["advantage"], 0) / total for row in known]
    )
    assert math.fsum(row["sampling_weight"] for row in known) == pytest.approx(1)
    assert rows[7]["sampling_weight"] is None
    assert rows[19]["status"] == "failed"
    told = finished.summary.values()["annotations"]["sequence"]
    assert (told["n_keep"], told["positive_ratio"], told["weight_sum"]) == (8, 8 / 18, total)


def test_the_services_own_advantages_are_weighed_over_all_calls(
    run_annotate: Run, service_url: str, tmp_path: Path, out: Path, lines: Any
) -> None:
    """A1 (papers.md 4.7), in two calls: weights as if it had been one."""
    options = tmp_path / "options.toml"
    options.write_text('[sequence.options]\ncomponents = []\nvalue_source = "provided"\n')
    rewards, values = (0.880797, 0.5, 0.731059, 0.268941), (0.7, 0.7, 0.6, 0.1)
    rows = [
        {**row, "reward": reward, "value": value}
        for row, reward, value in zip(lines.make(4), rewards, values, strict=True)
    ]
    source = lines.write(tmp_path / "a1.jsonl", rows)
    finished = run_annotate(source, out, "sequence", url=service_url, options=options, batch=2)
    made = [row["assay_sequence"] for row in lines.read(out)]
    assert [row["keep"] for row in made] == [True, False, True, True]
    weights = [row["sampling_weight"] for row in made]
    assert weights == pytest.approx([0.376036, 0, 0.272586, 0.351378], abs=2e-6)
    assert finished.summary.values()["annotations"]["sequence"]["positive_ratio"] == 0.75


def test_where_nothing_is_worth_keeping_all_weights_are_zero(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path, lines: Any
) -> None:
    """And no NaN (A6)."""
    stub.advantage_of = lambda _: -0.5
    finished = run_annotate(data, out, "sequence", url=stub_url)
    assert {row["assay_sequence"]["sampling_weight"] for row in lines.read(out)} == {0.0}
    assert finished.summary.values()["annotations"]["sequence"]["positive_ratio"] == 0


def test_rows_that_are_compared_travel_together(
    run_annotate: Run, stub: Any, stub_url: str, tmp_path: Path, out: Path, lines: Any
) -> None:
    """A group is never cut by a call, and asked for anew as a whole; groups that are torn apart are refused."""
    options = tmp_path / "options.toml"
    options.write_text('[sequence.options]\nvalue_source = "group_mean"\n')
    rows = [{**row, "prompt": f"prompt {index // 3}"} for index, row in enumerate(lines.make(12))]
    source = lines.write(tmp_path / "groups.jsonl", rows)
    stub.failing = {text(4)}
    run_annotate(source, out, "sequence", url=stub_url, options=options, batch=4)
    prompts = [[rollout["prompt"] for rollout in call["rollouts"]] for call in stub.calls]
    assert sorted(prompts) == [["prompt 0"] * 3 + ["prompt 1"] * 3, ["prompt 2"] * 3 + ["prompt 3"] * 3]
    stub.failing.clear()
    stub.calls.clear()
    run_annotate(source, out, "sequence", url=stub_url, options=options, batch=4, retry_failed=True)
    assert judged(stub, "/score/sequence") == [text(3), text(4), text(5)]
    apart = lines.write(tmp_path / "apart.jsonl", [*rows, rows[0]])
    with pytest.raises(Stopped, match="rows 2 and 12"):
        run_annotate(apart, tmp_path / "new.jsonl", "sequence", url=stub_url, options=options)


def test_the_summary_stands_beside_the_output(
    run_annotate: Run, stub: Any, stub_url: str, data: Path, out: Path
) -> None:
    """Counts, failures by kind, means, and how reward goes with length."""
    stub.failing = {text(3)}
    run_annotate(data, out, "token,rewrite", url=stub_url)
    told = json.loads(out.with_name("out.summary.json").read_text())
    token = told["annotations"]["token"]
    sums = [len(text(index)) / 10 for index in range(20) if index != 3]
    assert (told["rows"], token["ok"], token["failures"]) == (20, 19, {"engine": 1})
    assert token["completion_reward"]["mean"] == pytest.approx(sum(sums) / 19)
    assert token["token_reward"]["count"] == 38
    assert token["token_reward"]["zero_share"] == 0.5
    assert told["annotations"]["rewrite"]["copied_share"] == 1.0
    assert told["recipes"]["token"]["id"] == "sha256:one"


def test_an_empty_data_set_is_annotated(run_annotate: Run, tmp_path: Path, stub_url: str) -> None:
    """In either format."""
    source = tmp_path / "empty.jsonl"
    source.write_text("")
    for name in ("out.jsonl", "out.parquet"):
        finished = run_annotate(source, tmp_path / name, "token", url=stub_url)
        assert finished.summary.rows == 0
        assert (tmp_path / name).exists()

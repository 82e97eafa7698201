"""Facts about loading policy tokenizers and aligning completions in each way they are sent."""

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from assayd.domain.failure import Failure, FailureKind, Rejected
from assayd.domain.provenance import ModelRef
from assayd.domain.rollout import Completion
from assayd.domain.text import Span
from assayd.engines.alignment_loading import Tokenizers, load
from assayd.engines.tokenizers import Aligner, RawCompletion


@pytest.fixture
def aligner(tokenizer_folders: Path) -> Aligner:
    """An aligner whose own tokenizer is the tiny GPT-2."""
    return Aligner(tokenizer_folders / "gpt2")


@pytest.fixture
def llama(tokenizer_folders: Path) -> str:
    """The name of a policy tokenizer."""
    return str(tokenizer_folders / "llama2")


@pytest.fixture
def folder(tokenizer_folders: Path, tmp_path: Path) -> Path:
    """A tokenizer folder of one's own to change."""
    return shutil.copytree(tokenizer_folders / "gpt2", tmp_path / "policy")


def configure(folder: Path, **settings: Any) -> None:
    """Write the tokenizer_config.json of a folder."""
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def aligned(outcome: Completion | Failure) -> Completion:
    """The completion, which must not have failed."""
    assert isinstance(outcome, Completion), outcome
    return outcome


async def test_ids_with_their_tokenizer(aligner: Aligner, llama: str, zoo: Mapping[str, Tokenizer]) -> None:
    """Ids become text under the named tokenizer; a text sent along must agree; an end marker is special."""
    ids = (*zoo["llama2"].encode("Ok 👍 bad").ids, zoo["llama2"].token_to_id("</s>"))
    model = await aligner.pin(llama)
    alone, with_text = await aligner.align_all(
        [RawCompletion(token_ids=ids), RawCompletion(token_ids=ids, text="Ok 👍 bad", truncated=True)], model
    )
    assert aligned(alone).text == "Ok 👍 bad"
    assert aligned(alone).special == {len(ids) - 1}
    assert not aligned(alone).truncated
    assert aligned(with_text).truncated
    assert aligned(with_text).alignment == aligned(alone).alignment


async def test_text_and_offsets_need_no_tokenizer(aligner: Aligner) -> None:
    """Offsets of the trainer count as they are, and a tokenizer that nothing needs is not even looked for."""
    sent = RawCompletion(text="Ok 👍 bad", offsets=((0, 2), (2, 4), (3, 4), (4, 8), (8, 8)), mask=(True,) * 5)
    (outcome,) = await aligner.align_all([sent], ModelRef("no/such-tokenizer", "0" * 40))
    completion = aligned(outcome)
    assert completion.alignment.token_ids is None
    assert completion.alignment.token_spans[3] == Span(4, 8)
    assert completion.special == frozenset()
    assert completion.mask == (True,) * 5


async def test_text_alone_is_cut_by_the_services_own_tokenizer(
    aligner: Aligner, llama: str, zoo: Mapping[str, Tokenizer]
) -> None:
    """Text alone gets the service's own tokens, or those of the policy tokenizer when the call names one."""
    (own,) = await aligner.align_all([RawCompletion(text="not bad")])
    assert aligned(own).alignment.token_ids == tuple(zoo["gpt2"].encode("not bad").ids)
    (named,) = await aligner.align_all([RawCompletion(text="not bad")], await aligner.pin(llama))
    assert aligned(named).alignment.token_ids == tuple(zoo["llama2"].encode("not bad").ids)


async def test_one_bad_completion_fails_alone(
    aligner: Aligner, llama: str, zoo: Mapping[str, Tokenizer]
) -> None:
    """Whatever disagrees is refused as unaligned with its reason, in its place; the others go on."""
    ids = tuple(zoo["llama2"].encode("not bad").ids)
    sent_and_reason = [
        (RawCompletion(token_ids=ids), None),
        (RawCompletion(token_ids=ids, text="not good"), "at character 4 the ids have 'bad'"),
        (RawCompletion(token_ids=(*ids, 999_999)), "has the id 999999, which"),
        (RawCompletion(token_ids=ids, mask=(True,)), f"1 mask values but {len(ids)} tokens"),
        (RawCompletion(text="abc", offsets=((0, 1),)), "no token covers character 1, 'b'"),
        (RawCompletion(text="abc", offsets=((0, 3),), token_ids=(1, 2)), "2 token ids but 1 offsets"),
        (RawCompletion(offsets=((0, 3),)), "without the text"),
        (RawCompletion(text="half \ud83d"), "lone surrogate"),
        (RawCompletion(text="half \ud83d", token_ids=ids), "lone surrogate"),
        (RawCompletion(text="half \ud83d", offsets=((0, 6),)), "lone surrogate"),
        (RawCompletion(), "a completion needs token_ids, or text with offsets, or text"),
        (RawCompletion(token_ids=()), None),
        (RawCompletion(text=""), None),
    ]
    outcomes = await aligner.align_all([sent for sent, _ in sent_and_reason], await aligner.pin(llama))
    for (_, reason), outcome in zip(sent_and_reason, outcomes, strict=True):
        if reason is None:
            aligned(outcome)
        else:
            assert isinstance(outcome, Failure)
            assert outcome.kind is FailureKind.UNALIGNED
            assert reason in outcome.detail


async def test_ids_without_a_tokenizer_mean_nothing(aligner: Aligner) -> None:
    """They are refused, and the reason says what to send instead."""
    (outcome,) = await aligner.align_all([RawCompletion(token_ids=(1, 2))])
    assert isinstance(outcome, Failure)
    assert "name it, or send text and offsets" in outcome.detail


async def test_the_event_loop_goes_on(aligner: Aligner, llama: str, zoo: Mapping[str, Tokenizer]) -> None:
    """While long completions are aligned, other coroutines run."""
    ids = tuple(zoo["llama2"].encode("The film was not good, ☕ not bad. " * 3000).ids)
    work = asyncio.ensure_future(
        aligner.align_all([RawCompletion(token_ids=ids)] * 3, await aligner.pin(llama))
    )
    ticks = 0
    while not work.done():
        await asyncio.sleep(0.001)
        ticks += 1
    assert ticks > 10
    assert len(await work) == 3


async def test_a_tokenizer_is_loaded_once(llama: str) -> None:
    """Who asks while it is being loaded, or asks later by its pin, gets the very same."""
    tokenizers = Tokenizers()
    first, second = await asyncio.gather(tokenizers.get(llama), tokenizers.get(llama))
    assert first is second
    assert await tokenizers.get(llama, first.model.revision) is first


async def test_who_gives_up_waiting_spoils_nothing(llama: str) -> None:
    """A caller that is cancelled does not cancel the loading for the others."""
    tokenizers = Tokenizers()
    impatient = asyncio.ensure_future(tokenizers.get(llama))
    patient = asyncio.ensure_future(tokenizers.get(llama))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).model.name == llama


async def test_only_the_last_few_are_kept(tokenizer_folders: Path) -> None:
    """Beyond its capacity the tokenizer that was not used for longest is let go."""
    tokenizers = Tokenizers(capacity=1)
    first = await tokenizers.get(str(tokenizer_folders / "gpt2"))
    await tokenizers.get(str(tokenizer_folders / "llama2"))
    assert await tokenizers.get(str(tokenizer_folders / "gpt2")) is not first


async def test_a_failure_is_not_remembered(tokenizer_folders: Path, tmp_path: Path) -> None:
    """Once the folder is there, the next call finds it."""
    tokenizers = Tokenizers()
    late = tmp_path / "late"
    late.mkdir()
    with pytest.raises(Rejected):
        await tokenizers.get(str(late))
    shutil.copy(tokenizer_folders / "gpt2" / "tokenizer.json", late)
    assert (await tokenizers.get(str(late))).model.name == str(late)


def test_a_folder_is_pinned_by_its_files(folder: Path, tokenizer_folders: Path) -> None:
    """The same files give the same revision, other files another, and a pin that does not match is refused."""
    revision = load(str(folder)).model.revision
    assert revision.startswith("sha256:")
    assert load(str(tokenizer_folders / "gpt2")).model.revision == revision
    assert load(str(folder), revision).model.revision == revision
    configure(folder, eos_token="</s>")
    assert load(str(folder)).model.revision != revision
    with pytest.raises(Rejected, match="not the pinned revision"):
        load(str(folder), revision)


@pytest.mark.parametrize("content", [None, "{}", "no json"])
def test_a_tokenizer_that_cannot_be_loaded(folder: Path, content: str | None) -> None:
    """The call is refused as invalid, points at the tokenizer, and says what to do."""
    (folder / "tokenizer.json").unlink()
    if content is not None:
        (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(Rejected, match="send text and offsets") as caught:
        load(str(folder))
    assert caught.value.kind is FailureKind.INVALID
    assert caught.value.pointer == "/tokenizer"


@pytest.mark.parametrize("name", ["", "../no/where", "a name with spaces", "a/b/c", "\0"])
def test_a_name_that_cannot_be_a_tokenizer(name: str) -> None:
    """It is refused before anything is asked of the network."""
    with pytest.raises(Rejected, match="cannot be loaded"):
        load(name)


def test_special_tokens_of_the_configuration(folder: Path, zoo: Mapping[str, Tokenizer]) -> None:
    """What tokenizer_config.json declares special is special, though tokenizer.json does not say so."""
    think, call, bad = (zoo["gpt2"].token_to_id(one) for one in ("<think>", "<tool call>", "Ġbad"))
    assert load(str(folder)).align([think, call, bad])[1] == frozenset()
    unseen = zoo["gpt2"].get_vocab_size()
    configure(
        folder,
        eos_token={"content": "<think>"},
        pad_token="not in the vocabulary",
        add_bos_token=False,
        additional_special_tokens=["<tool call>"],
        added_tokens_decoder={str(unseen): {"content": "<new>", "special": True}},
    )
    alignment, special = load(str(folder)).align([think, call, bad, unseen])
    assert alignment.text == " bad"
    assert special == {0, 1, 3}


def test_a_configuration_that_contradicts_the_vocabulary(folder: Path) -> None:
    """A special token declared under another token's id is refused: nobody can tell which of the two is meant."""
    configure(folder, added_tokens_decoder={"7": {"content": "<new>", "special": True}})
    with pytest.raises(Rejected, match="gives '<new>' the id 7, but"):
        load(str(folder))


def test_older_files_are_converted(zoo: Mapping[str, Tokenizer], tmp_path: Path) -> None:
    """A folder without tokenizer.json loads through transformers, when that is installed."""
    pytest.importorskip("transformers")
    model = json.loads(zoo["gpt2"].to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    configure(tmp_path, tokenizer_class="GPT2Tokenizer", eos_token="</s>", bos_token="<s>", unk_token="</s>")
    policy = load(str(tmp_path))
    alignment, special = policy.align([*zoo["gpt2"].encode("Ok 👍 bad").ids, zoo["gpt2"].token_to_id("</s>")])
    assert alignment.text == "Ok 👍 bad"
    assert special == {len(alignment) - 1}


def test_padding_and_truncation_settings_do_not_touch_texts(
    folder: Path, zoo: Mapping[str, Tokenizer]
) -> None:
    """A tokenizer saved with padding or truncation cuts a text whole and adds nothing."""
    saved = Tokenizer.from_str(zoo["gpt2"].to_str())
    saved.enable_truncation(3)
    saved.enable_padding(length=64)
    saved.save(str(folder / "tokenizer.json"))
    alignment, _ = load(str(folder)).encode("The film was not good, not bad.")
    assert alignment.token_ids == tuple(zoo["gpt2"].encode("The film was not good, not bad.").ids)


async def test_the_services_own_tokenizer_has_one_name_in_every_folder(
    aligner: Aligner, folder: Path
) -> None:
    """Two installations of the service name the same recipe; the revision tells the tokenizers apart."""
    here, there = [await one.text_tokenizer(None) for one in (aligner, Aligner(folder))]
    assert here.model == there.model
    (folder / "special_tokens_map.json").write_text("{}", encoding="utf-8")
    changed = await Aligner(folder).text_tokenizer(None)
    assert (changed.model.name, changed.model.revision == here.model.revision) == (here.model.name, False)

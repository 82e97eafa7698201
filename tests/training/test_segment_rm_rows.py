"""What the training of segment reward models reads: pairs, rows of tokens, and where entropies cut them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from assay_training.finetuning.models import load_tokenizer
from assay_training.segment_rm.entropies import entropies_of, weigh_rows
from assay_training.segment_rm.examples import Examples, Reading, Weigher, make_examples
from assay_training.segment_rm.models import load_entropy_model
from assay_training.segment_rm.pairs import Pair, read_pairs
from assay_training.segment_rm.rendering import PairRenderer
from assayd.annotators.cutting import BoundaryMode, Cut, Segmenter
from assayd.domain.rollout import Message, Role
from assayd.engines.prompts import left_truncated

END = "<|end|>"
PAD = "<|pad|>"
CPU = torch.device("cpu")
CHAT = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[a] {% endif %}"
)


def _read(pairs: Path, base: Path, cut: Cut, tmp_path: Path, *, max_length: int = 512) -> Examples:
    weigher = Weigher(load_entropy_model(base, CPU, torch.float32), load_tokenizer(base), tmp_path / "cache")
    return make_examples(read_pairs(pairs), load_tokenizer(base), Reading(cut, max_length, 100), weigher)


def test_lists_of_messages_are_the_pairs_that_texts_are(tmp_path: Path) -> None:
    """A conversation's last message is the completion, whatever of the shapes in use it comes in."""
    user, good, bad = (
        {"role": role, "content": text}
        for role, text in (("user", "q"), ("assistant", "a"), ("assistant", "b"))
    )
    rows = [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": [user], "chosen": "a", "rejected": "b"},
        {"chosen": [user, good], "rejected": [user, bad]},
        {"prompt": "ignored", "chosen": [user, good], "rejected": [user, bad]},
        {"prompt": [user], "chosen": [good], "rejected": [bad]},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n\n".join(map(json.dumps, rows)))
    assert read_pairs(path) == [Pair((Message(Role.USER, "q"),), "a", "b")] * len(rows)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ("[1]", "an object"),
        ('{"chosen": "a", "rejected": "b"}', "prompt must be"),
        ('{"prompt": "q", "chosen": "a"}', "rejected must be"),
        ('{"prompt": "q", "chosen": 1, "rejected": "b"}', "chosen must be"),
        ('{"prompt": ["q"], "chosen": "a", "rejected": "b"}', "no message"),
        ('{"prompt": [{"role": "x", "content": ""}], "chosen": "a", "rejected": "b"}', "role 'x'"),
        ('{"chosen": [{"role": "user", "content": ""}], "rejected": "b"}', "of the assistant"),
        (
            '{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],'
            ' "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "b"}]}',
            "different prompts",
        ),
        (r'{"prompt": "q", "chosen": "\ud83d", "rejected": "b"}', "surrogate"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    """A line that is no pair is refused with the file, the line's number and what is wrong."""
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n\n' + line + "\n")
    with pytest.raises(ValueError, match=problem) as refused:
        read_pairs(path)
    assert f"{path}, line 3: " in str(refused.value)


def test_what_datasets_loads_is_read_too(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parquet file, a saved data set and a folder of data files hold the same pairs as the lines."""
    import datasets

    rows = datasets.Dataset.from_list([json.loads(line) for line in pairs.read_text().splitlines()])
    rows.to_parquet(str(tmp_path / "pairs.parquet"))
    rows.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "folder").mkdir()
    rows.to_json(str(tmp_path / "folder" / "train.jsonl"))
    expected = read_pairs(pairs)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for source in ("pairs.parquet", "saved", "folder"):
        assert read_pairs(tmp_path / source) == expected
    with pytest.raises(ValueError, match="cannot load pairs"):
        read_pairs(tmp_path / "nothing")


def test_a_prompt_loses_its_left_part_and_a_completion_ends_with_the_marker(
    bytewise: PreTrainedTokenizerFast,
) -> None:
    """The last tokens of a templated prompt stay, the completion is whole, and markers spelled in it are text."""
    tokenizer = bytewise
    tokenizer.chat_template = CHAT
    pair = Pair((Message(Role.USER, "what?"),), f"so{END}", "né")
    (rendered,) = PairRenderer(tokenizer, 12).render([pair])
    assert rendered.chosen is not None
    assert rendered.rejected is not None
    assert tokenizer.decode(rendered.prompt_ids) == "[user] what?\n[a] "[-12:]
    ids = rendered.chosen.alignment.token_ids
    assert ids is not None
    assert len(ids) == len(f"so{END}") + 1
    assert ids[-1] == tokenizer.eos_token_id
    assert ids.count(ids[-1]) == 1
    assert rendered.chosen.special == {len(ids) - 1}
    assert rendered.rejected.text == "né"


def test_without_a_template_the_completion_stands_right_behind_the_prompt(
    bytewise: PreTrainedTokenizerFast,
) -> None:
    """The contents are joined as they are; a prompt of nothing is the end marker, so that something comes before."""
    pairs = [Pair((Message(Role.SYSTEM, "ab"), Message(Role.USER, "cd")), "x", "y"), Pair((), "x", "y")]
    joined, empty = PairRenderer(bytewise, 100).render(pairs)
    assert bytewise.decode(joined.prompt_ids) == "abcd"
    assert empty.prompt_ids == [bytewise.eos_token_id]


@pytest.mark.parametrize("longest", [1, 2, 5, 9, 50])
@pytest.mark.parametrize("template", [None, CHAT])
def test_prompts_are_those_of_the_service(
    bytewise: PreTrainedTokenizerFast, template: str | None, longest: int
) -> None:
    """Whatever is cut off, also behind a token that the tokenizer puts in front, training reads what is served."""
    tokenizer = bytewise
    tokenizer.bos_token = PAD
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{PAD} $A", special_tokens=[(PAD, tokenizer.pad_token_id)]
    )
    tokenizer.chat_template = template
    user, said = Message(Role.USER, "what is it?"), Message(Role.ASSISTANT, "Well")
    for prompt in ((user,), (user, said)) if template else ((user,),):
        (ids,) = PairRenderer(tokenizer, longest).prompts([prompt])
        assert ids == left_truncated(tokenizer, prompt, longest)[0]
        assert len(ids) <= longest


def test_pairs_that_cannot_be_learned_from_are_dropped_and_counted(base: Path, tmp_path: Path) -> None:
    """Too long for the window, twice the same, and nothing said: dropped; what just fits is whole."""
    path = tmp_path / "pairs.jsonl"
    said = [("a" * 19, "b"), ("a" * 18, "b"), ("a", "a"), ("a", "")]
    path.write_text("".join(json.dumps({"prompt": "q", "chosen": c, "rejected": r}) + "\n" for c, r in said))
    made = _read(path, base, Cut(), tmp_path, max_length=20)
    assert dict(made.dropped) == {"too_long": 1, "identical": 1, "empty": 1}
    assert [len(example.chosen.ids) for example in made.kept] == [20]


def test_segments_end_where_the_entropy_model_is_unsure(base: Path, pairs: Path, tmp_path: Path) -> None:
    """The ends are the tokens behind which a plain softmax has more entropy than the cutoff, and the last content."""
    model = LlamaForCausalLM.from_pretrained(base)
    cutoff = 2.0
    for example in _read(pairs, base, Cut(c_ent=cutoff), tmp_path).kept[:6]:
        ids = example.chosen.ids.tolist()
        start = ids.index(load_tokenizer(base).convert_tokens_to_ids(".")) + 2
        with torch.no_grad():
            logits_tv = model(torch.tensor([ids])).logits[0]
        entropy_t = torch.distributions.Categorical(logits=logits_tv).entropy()
        last = len(ids) - 2
        unsure = [index for index in range(start, last) if entropy_t[index] > cutoff]
        assert example.chosen.ends.tolist() == [*unsure, last]
        assert 0 < len(unsure) < last - start


@pytest.mark.parametrize(
    ("how", "ends"),
    [
        (Cut(boundary_mode=BoundaryMode.BANDIT), [10]),
        (Cut(boundary_mode=BoundaryMode.TOKEN), [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Cut(segmenter=Segmenter.SENTENCE), [3, 9]),
        (Cut(segmenter=Segmenter.FIXED, segment_length=4), [4, 8, 9]),
    ],
)
def test_other_cuts_need_no_entropy_model(base: Path, how: Cut, ends: list[int]) -> None:
    """The end marker is a segment's end in bandit mode only."""
    pair = Pair((Message(Role.USER, "q"),), "So. Done.", "No.")
    made = make_examples([pair], load_tokenizer(base), Reading(how, 100, 100), None)
    assert made.kept[0].chosen.ends.tolist() == ends


def test_what_was_weighed_is_not_weighed_again(base: Path, tmp_path: Path) -> None:
    """The entropies come from the folder the second time, though the model has changed since."""
    model = load_entropy_model(base, CPU, torch.float32)
    rows = [(np.arange(2, 2 + length, dtype=np.int32), 3) for length in (9, 30, 4)]
    first = weigh_rows(model, rows, tmp_path)
    for weight in model.parameters():
        torch.nn.init.zeros_(weight)
    again = weigh_rows(model, rows, tmp_path)
    assert [len(values) for values in first] == [6, 27, 1]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    anew = weigh_rows(model, rows, tmp_path / "other")
    np.testing.assert_allclose(anew[0], np.log(258), rtol=1e-5)


def test_entropies_in_chunks_are_entropies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uniform logits have the entropy ln n; chunks of two tokens give what one softmax over all gives."""
    torch.manual_seed(0)
    head, hidden_td = torch.nn.Linear(8, 50), torch.randn(7, 8)
    expected = torch.distributions.Categorical(logits=head(hidden_td)).entropy()
    monkeypatch.setattr("assay_training.segment_rm.entropies.LOGITS_AT_ONCE", 100)
    torch.testing.assert_close(entropies_of(head, hidden_td), expected)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
    torch.testing.assert_close(
        entropies_of(head, hidden_td), torch.full((7,), np.log(50), dtype=torch.float32)
    )

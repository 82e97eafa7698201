"""Token ids in, under the tokenizer of the settings: every token is paid at its own place."""

from collections.abc import Callable

import httpx
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PROMPT = "<|im_start|>user\nAre you a zebra?<|im_end|>\n<|im_start|>assistant\n"
ANSWER = "No, you zebra 🦓."
END = "<|im_end|>\n"

Start = Callable[..., str]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, PreTrainedTokenizerFast]:
    """One token a byte, and ChatML's markers as special tokens; in a folder."""
    alphabet = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(alphabet, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(marker, special=True) for marker in ("<|im_start|>", "<|im_end|>")])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>")
    folder = tmp_path_factory.mktemp("chatml")
    made.save_pretrained(folder)
    return str(folder), made


def expected(tokenizer: PreTrainedTokenizerFast) -> list[float]:
    """-0.5 on each byte of what the critic finds, and 0 on everything else."""
    marked = ANSWER.index("you zebra")
    before = len(tokenizer.encode(PROMPT + ANSWER[:marked], add_special_tokens=False))
    whole = len(tokenizer.encode(PROMPT + ANSWER + END, add_special_tokens=False))
    return [-0.5 if before <= place < before + len("you zebra") else 0.0 for place in range(whole)]


def test_pooling_pays_each_token_at_its_place(
    foreign: Start, tokenizer: tuple[str, PreTrainedTokenizerFast]
) -> None:
    """As many rows as ids, the planted span's in its place, in the order of the inputs; characters may be split."""
    folder, made = tokenizer
    url = foreign(tokenizer=folder)
    ids = made.encode(PROMPT + ANSWER + END, add_special_tokens=False)
    harmless = made.encode(PROMPT + "No." + END, add_special_tokens=False)
    answer = httpx.post(f"{url}/pooling", json={"model": "rm", "input": [harmless, ids]}).json()
    first, second = ([reward for (reward,) in each["data"]] for each in answer["data"])
    assert first == [0.0] * len(harmless)
    assert second == expected(made)
    as_text = httpx.post(f"{url}/pooling", json={"input": PROMPT + ANSWER + END}).json()
    assert [reward for (reward,) in as_text["data"][0]["data"]] == second


def test_one_number_of_ids(foreign: Start, tokenizer: tuple[str, PreTrainedTokenizerFast]) -> None:
    """`/classify` takes ids by either server's field; the sum is that of the places."""
    folder, made = tokenizer
    url = foreign(tokenizer=folder)
    ids = made.encode(PROMPT + ANSWER + END, add_special_tokens=False)
    total = sum(expected(made))
    assert httpx.post(f"{url}/classify", json={"input": ids}).json()["data"][0]["probs"] == [total]
    assert httpx.post(f"{url}/classify", json={"input_ids": ids}).json()["embedding"] == [total]
    assert httpx.post(f"{url}/v1/embeddings", json={"input": [ids]}).json()["data"][0]["embedding"] == [total]


def test_the_scalar_formats_cut_by_that_tokenizer_too(
    foreign: Start, tokenizer: tuple[str, PreTrainedTokenizerFast]
) -> None:
    """Token rewards that slime gets belong to the policy's tokens where the settings name its tokenizer."""
    folder, made = tokenizer
    sent = {"prompt": PROMPT, "response": ANSWER, "label": None}
    answer = httpx.post(foreign(tokenizer=folder) + "/remote_rm", json=sent).json()
    assert len(answer["token_rewards"]) == len(made.encode(ANSWER, add_special_tokens=False))
    assert answer["score"] == sum(answer["token_rewards"]) == sum(expected(made))


def test_ids_out_of_vocabulary_are_refused(
    foreign: Start, tokenizer: tuple[str, PreTrainedTokenizerFast]
) -> None:
    """Ids that the tokenizer does not know fail as unaligned."""
    response = httpx.post(foreign(tokenizer=tokenizer[0]) + "/pooling", json={"input": [[1, 99_999]]})
    assert (response.status_code, response.json()["kind"]) == (422, "unaligned")

"""A-LoL end to end and offline, on the embedded models: what it brings to keep only what beats the reference policy.

    python -m examples.alol WORK_FOLDER

Logged completions, good and bad, are rewarded once by ``assayd annotate``. Two small policies begin as the reference
policy and take as many steps: one on all rows, one on those that are kept, drawn by their sampling weights
(2305.14718). Printed is the mean reward of what each then writes at held-out prompts, for each seed.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import mean

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

import assay
from assay_training.pocket_pairs import DOMAINS, held_out_pairs, twin_pairs
from assayd.engines import POCKET_ENTROPY

from .demo import service

SEEDS = (0, 1, 2)
PAIRS = 600
STEPS, BATCH, RATE = 150, 16, 5e-4
HELD_OUT_PROMPTS = 100
LONGEST = 96
IGNORED = -100

Row = dict[str, object]


def logged(path: Path) -> None:
    """Both completions of generated preference pairs, without a word on which one is better."""
    with path.open("w", encoding="utf-8") as file:
        for pair in islice(twin_pairs(1), PAIRS):
            for text in (pair.chosen, pair.rejected):
                file.write(json.dumps({"prompt": pair.prompt, "completion": text}) + "\n")


def rewarded(folder: Path) -> list[Row]:
    """Every row with its reward, value, advantage, and how often to draw it."""
    logged(folder / "rows.jsonl")
    annotate = [
        sys.executable,
        "-m",
        "assayd",
        "annotate",
        "rows.jsonl",
        "annotated.jsonl",
        "--with",
        "sequence",
    ]
    command = [*annotate, "--export", "alol=alol.jsonl"]
    subprocess.run(command, cwd=folder, check=True)  # noqa: S603 - our own program
    return [json.loads(line) for line in (folder / "alol.jsonl").read_text(encoding="utf-8").splitlines()]


def asked(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """A prompt as the policy reads it."""
    turns = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def drawn(rows: Sequence[Row], weights: Sequence[float], seed: int) -> Iterator[list[Row]]:
    """Batches with replacement, in proportion to the weights."""
    dice = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        chosen = torch.multinomial(torch.tensor(weights), BATCH, replacement=True, generator=dice)
        yield [rows[index] for index in chosen.tolist()]


def trained(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], weights: Sequence[float], seed: int
) -> LlamaForCausalLM:
    """The reference policy after so many steps of plain likelihood on rows drawn by their weights."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM.from_pretrained(POCKET_ENTROPY, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.0)
    for step, batch in enumerate(drawn(rows, weights, seed)):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        pairs = [(asked(tokenizer, row["prompt"]), answer(tokenizer, row["completion"])) for row in batch]
        width = max(len(prompt) + len(ids) for prompt, ids in pairs)
        ids_bt = torch.zeros(len(pairs), width, dtype=torch.long)
        targets_bt = torch.full_like(ids_bt, IGNORED)
        for index, (prompt, ids) in enumerate(pairs):
            ids_bt[index, : len(prompt) + len(ids)] = torch.tensor([*prompt, *ids])
            targets_bt[index, len(prompt) : len(prompt) + len(ids)] = torch.tensor(ids)
        # Padding stands on the right of a causal model: no token sees it.
        model(input_ids=ids_bt, labels=targets_bt).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def answer(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """A completion with its end marker."""
    return [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


@torch.inference_mode()
def written(
    tokenizer: PreTrainedTokenizerBase, model: LlamaForCausalLM, prompts: Sequence[str], seed: int
) -> list[str]:
    """One sampled completion a prompt."""
    torch.manual_seed(seed)
    ids = [asked(tokenizer, prompt) for prompt in prompts]
    width = max(map(len, ids))
    pad = tokenizer.pad_token_id
    ids_bt = torch.tensor([[pad] * (width - len(row)) + row for row in ids])
    mask_bt = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
    model.train(mode=False)
    out_bt = model.generate(ids_bt, attention_mask=mask_bt, max_new_tokens=LONGEST, do_sample=True, top_k=0)
    return [tokenizer.decode(row[width:], skip_special_tokens=True) for row in out_bt]


def worth(client: assay.Client, prompts: Sequence[str], texts: Sequence[str]) -> float:
    """The mean reward; a completion that could not be rewarded stops the experiment."""
    items = [
        {"prompt": prompt, "completion": {"text": text}} for prompt, text in zip(prompts, texts, strict=True)
    ]
    results = client.score_sequence(items, options={"value_source": "none"}, timeout_s=600).results
    if failed := [result for result in results if isinstance(result, assay.Failed)]:
        raise SystemExit(
            f"{len(failed)} completions could not be rewarded: {failed[0].kind}: {failed[0].detail}"
        )
    return mean(result.reward for result in results)


def main() -> None:
    """Reward, train, write, compare."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    rows = rewarded(folder)
    tokenizer = AutoTokenizer.from_pretrained(POCKET_ENTROPY)
    prompts = [pair.prompt for domain in DOMAINS for pair in held_out_pairs(domain, HELD_OUT_PROMPTS)]
    kept = [row["sampling_weight"] for row in rows]
    arms = {"all rows": [1.0] * len(rows), "kept rows, by sampling weight": kept}
    table = Table(
        title=f"{len(rows)} rows, {sum(map(bool, kept))} kept; mean reward at {len(prompts)} held-out prompts"
    )
    for name in ("seed", "reference policy", *arms):
        table.add_column(name, justify="right")
    reference = LlamaForCausalLM.from_pretrained(POCKET_ENTROPY, dtype=torch.float32)
    with service() as url, assay.Client(url) as client:
        for seed in SEEDS:
            policies = [reference, *(trained(tokenizer, rows, weights, seed) for weights in arms.values())]
            means = [worth(client, prompts, written(tokenizer, policy, prompts, seed)) for policy in policies]
            table.add_row(str(seed), *(f"{value:.3f}" for value in means))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

"""The string an embedded critic reads: the bodies of `prompts/pocket/*.md`, filled in as the service does it.

Text from outside is defanged (`<|` becomes `< |`), so that special tokens never come from a completion.
"""

from .corpora.items import Domain

END = "<|end|>"
SPECIAL_TOKENS = (
    END,
    "<|pad|>",
    "<|math|>",
    "<|sentiment|>",
    "<|toxicity|>",
    "<|completion|>",
    "<|critique|>",
)
PAD = SPECIAL_TOKENS[1]
_MARKS = {Domain.ARITHMETIC: "<|math|>", Domain.SENTIMENT: "<|sentiment|>", Domain.TOXICITY: "<|toxicity|>"}


def render(domain: Domain, prompt: str, completion: str) -> str:
    """What the served critic reads; its reply follows right behind. Only arithmetic is judged beside its prompt."""
    return render_prompted(domain, prompt if domain is Domain.ARITHMETIC else "", completion)


def render_prompted(domain: Domain, prompt: str, completion: str) -> str:
    """The same with the prompt in every domain, as the first course of the training has it."""
    judged = labelled_steps(completion) if domain is Domain.ARITHMETIC else completion.replace("\n", " ")
    return f"{_MARKS[domain]}\n{defang(prompt)}\n<|completion|>\n{defang(judged)}\n<|critique|>"


def labelled_steps(completion: str) -> str:
    """Every non-blank line with its number: `[0] ...`, `[1] ...`."""
    lines = [line for line in completion.split("\n") if line.strip()]
    return "\n".join(f"[{index}] {line}" for index, line in enumerate(lines))


def defang(text: str) -> str:
    """Text from outside, without special tokens."""
    return text.replace("<|", "< |")

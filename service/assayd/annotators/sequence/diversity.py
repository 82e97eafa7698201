"""The diversity term of the A-LoL paper: how telling the words of a completion are, by tf-idf (papers.md 4.5).

As scikit-learn's ``TfidfVectorizer`` has it by default, which the released code uses: lower case, words of two
characters or more, raw counts, ``idf = ln((1 + n) / (1 + df)) + 1``, rows of length 1. A word that the table does not
know counts as one of no document; the library would drop it, and a completion of new words would be worth nothing.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from ...domain.provenance import ModelRef

FORMAT: Final = "assay-idf/1"
ENOUGH_WORDS: Final = 5
"""Different words from which on a completion is not called short."""
_WORD: Final = re.compile(r"\b\w\w+\b")


@dataclass(frozen=True, slots=True)
class DocumentFrequencies:
    """In how many of ``documents`` texts each word stands. Without documents all words are alike."""

    documents: int
    frequency: Mapping[str, int]

    def idf(self, word: str) -> float:
        """How rare a word is, 1 and more."""
        return math.log((1 + self.documents) / (1 + self.frequency.get(word, 0))) + 1

    @property
    def ref(self) -> ModelRef:
        """How the recipe names this table."""
        content = json.dumps([self.documents, sorted(self.frequency.items())]).encode()
        return ModelRef("document-frequencies", f"sha256:{hashlib.sha256(content).hexdigest()}")

    def as_json(self) -> dict[str, Any]:
        """The table as a file holds it."""
        return {
            "format": FORMAT,
            "documents": self.documents,
            "frequency": dict(sorted(self.frequency.items())),
        }


def count_documents(texts: Iterable[str]) -> DocumentFrequencies:
    """The table of some texts."""
    documents, frequency = 0, Counter[str]()
    for text in texts:
        documents += 1
        frequency.update(set(words_of(text)))
    return DocumentFrequencies(documents, dict(frequency))


def parse_frequencies(content: str) -> DocumentFrequencies:
    """A table from its file; raises ``ValueError`` for anything else."""
    values = json.loads(content)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"a table of document frequencies says `format: {FORMAT}`")
    documents, frequency = values.get("documents"), values.get("frequency")
    if (
        not isinstance(documents, int)
        or not isinstance(frequency, dict)
        or not all(isinstance(count, int) and 0 <= count <= documents for count in frequency.values())
    ):
        raise ValueError("a word cannot stand in fewer than 0 or more than all `documents`")
    return DocumentFrequencies(documents, frequency)


def words_of(text: str) -> list[str]:
    """The words that count."""
    return _WORD.findall(text.lower())


def diversity(text: str, table: DocumentFrequencies) -> float:
    """The mean of the tf-idf values that are not 0, less for a short text; 0 without a word."""
    counts = Counter(words_of(text))
    weights = [count * table.idf(word) for word, count in counts.items()]
    length = math.hypot(*weights)
    return shortened(fmean(weight / length for weight in weights), len(weights)) if weights else 0.0


def shortened(mean: float, words: int) -> float:
    """``mean``, but a tenth of it for each different word where there are fewer than five (A5)."""
    return mean * words / 10 if words < ENOUGH_WORDS else mean

"""The file of stored answers, which several engines of several services write at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from assayd.domain.provenance import ModelRef
from assayd.health.canaries import Canaries
from assayd.health.questions import Answer


def test_what_many_store_at_once_is_all_there(tmp_path: Path) -> None:
    """No answer is lost, and nobody reads half a file."""
    path = tmp_path / "canaries.json"
    services = [Canaries(path) for _ in range(2)]
    models = [ModelRef(f"model-{number}", "1", "transformers float32") for number in range(32)]
    with ThreadPoolExecutor(8) as pool:
        stored = [
            pool.submit(services[number % 2].remember, model, {"score": Answer(numbers=(float(number),))})
            for number, model in enumerate(models)
        ]
    for one in stored:
        one.result()
    kept = [Canaries(path).known(model) for model in models]
    assert [known and known.answers["score"].numbers for known in kept] == [(float(n),) for n in range(32)]

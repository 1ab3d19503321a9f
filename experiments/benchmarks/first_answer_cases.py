"""One case of `first_answer.py` in a process of its own, from the imports to the answer.

python -m experiments.benchmarks.first_answer_cases NAME ours|numpy

Prints one line of JSON: wall and processor seconds of each stage, what the case returns, and the
time at which it ended.
"""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Wall and processor seconds of stages, added up where a stage comes again."""

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        wall, processor = time.perf_counter(), time.process_time()
        yield
        before = self.seconds.get(stage, (0.0, 0.0))
        self.seconds[stage] = (
            before[0] + time.perf_counter() - wall,
            before[1] + time.process_time() - processor,
        )


def main(name: str, side: str) -> None:
    clock = Clock()
    with clock("import"):
        module = importlib.import_module(f"experiments.benchmarks.first_answer_{side}")
    answer = getattr(module, name)(clock)
    print(json.dumps({"seconds": clock.seconds, **answer, "ended": time.time()}))


if __name__ == "__main__":
    main(*sys.argv[1:])

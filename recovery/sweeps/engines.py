"""Where batches are computed: here, in processes of this machine, or by any other executor."""

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from recovery._cores import num_cores
from recovery.sweeps.errors import StoreError, StudyError
from recovery.sweeps.work import Outcome, Task, give_up, work

# How often the process that computes a batch may die before the batch is given up.
_ATTEMPTS = 3


def here(tasks: Iterable[Task]) -> Iterator[Outcome]:
    """One batch after the other in this process, which has all cores for each."""
    return map(work, tasks)


def in_processes(tasks: Iterable[Task], jobs: int) -> Iterator[Outcome]:
    """Several processes of this machine, each with its share of the cores."""
    yield from through(lambda: process_pool(jobs), tasks, width=jobs, renewable=True)


def through(
    executor: Callable[[], AbstractContextManager[Executor]],
    tasks: Iterable[Task],
    *,
    width: int,
    renewable: bool = False,
) -> Iterator[Outcome]:
    """Any executor whose workers reach the store, `width` batches at a time.

    A batch under way when a process died is tried again, alone, so that none is blamed for another;
    after three deaths its cells are lost, and the sweep goes on. Where a broken executor cannot be
    renewed, StoreError says so.
    """
    queue = _Queue(tasks)
    while queue.waiting:
        with executor() as workers:
            try:
                yield from _drain(workers, queue, width)
            except (BrokenExecutor, CancelledError) as error:
                if not renewable:
                    raise StoreError(
                        f"the workers are gone ({type(error).__name__}): run again for what is "
                        "left. What is finished is safe."
                    ) from error


class _Queue:
    """Tasks, and how often the process of each has died."""

    def __init__(self, tasks: Iterable[Task]):
        self.waiting = deque(tasks)
        self.flying: dict[Future[Outcome], Task] = {}
        self._deaths = Counter[str]()

    def has_room(self, width: int) -> bool:
        if not self.waiting:
            return False
        suspected = any(self._deaths[task.batch.key] for task in self.flying.values())
        alone = suspected or self._deaths[self.waiting[0].batch.key] > 0
        return len(self.flying) < (1 if alone else width)

    def submit_next(self, executor: Executor) -> None:
        # Under way from here on: an executor that is broken already refuses the submission.
        task = self.waiting.popleft()
        try:
            self.flying[executor.submit(work, task)] = task
        except BaseException:
            self.waiting.appendleft(task)
            raise

    def died(self, future: Future[Outcome], reason: str) -> Iterator[Outcome]:
        """Put the task back in front, or give it up if it has died too often."""
        task = self.flying.pop(future)
        self._deaths[task.batch.key] += 1
        if self._deaths[task.batch.key] < _ATTEMPTS:
            self.waiting.appendleft(task)
        else:
            yield give_up(task, reason)


def _drain(executor: Executor, queue: _Queue, width: int) -> Iterator[Outcome]:
    """Until nothing is left, or the executor breaks: then what was under way waits again."""
    try:
        while queue.waiting or queue.flying:
            while queue.has_room(width):
                queue.submit_next(executor)
            done, _ = wait(queue.flying, return_when=FIRST_COMPLETED)
            for future in done:
                yield from _outcome(queue, future)
    except (BrokenExecutor, CancelledError):
        for future in list(queue.flying):
            yield from queue.died(future, "the process died; memory may have run out")
        raise


def _outcome(queue: _Queue, future: Future[Outcome]) -> Iterator[Outcome]:
    try:
        yield future.result()
        del queue.flying[future]
    except (StoreError, StudyError, BrokenExecutor, CancelledError):
        raise
    except Exception as error:  # an executor's own way to say that the process died
        yield from queue.died(future, f"{type(error).__name__}: {error}")


@contextmanager
def process_pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that start afresh, each with its share of the cores, and end with their parent."""
    context = multiprocessing.get_context("spawn")  # a forked process hangs in JAX
    numbers = context.Value("i", 0)
    with ProcessPoolExecutor(jobs, context, _begin_worker, (numbers, jobs)) as pool:
        first, *_ = [pool.submit(os.getpid) for _ in range(jobs)]
        try:
            first.result()
        except BrokenExecutor:
            raise StudyError(
                "worker processes do not start. They import the script that calls run: it must do "
                "so below the line if __name__ == '__main__':"
            ) from None
        yield pool


def _begin_worker(numbers, jobs: int) -> None:
    with numbers.get_lock():
        number, numbers.value = numbers.value, numbers.value + 1
    os.environ.update(_share(number, jobs, os.environ.get("CUDA_VISIBLE_DEVICES")))
    # Ctrl-C reaches the driver, which lets batches under way come to their end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """Workers of a driver that was killed would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _share(number: int, jobs: int, visible: str | None) -> dict[str, str]:
    """Environment of worker `number`: its cores, its GPU, and its part of that GPU's memory.

    Read by JAX when it first computes, which is later.
    """
    share = {"NPROC": str(max(1, num_cores() // jobs))}
    gpus = [p.name[6:] for p in sorted(Path("/dev").glob("nvidia[0-9]*"))]
    gpus = gpus if visible is None else [gpu for gpu in visible.split(",") if gpu]
    if gpus:
        share["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        if jobs > len(gpus):
            share["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.75 * len(gpus) / jobs:.3f}"
    return share

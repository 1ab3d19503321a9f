"""Timing in turn, memory, and the table that every benchmark prints and writes.

What is compared is timed in turn (a, b, a, b, ...) and a ratio is the median over the rounds of the
ratio within a round: the memory bandwidth of a shared machine drifts by a factor of two, and the
fastest times of a and b may come from different phases.
"""

import argparse
import importlib
import importlib.util
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import threads

# The threads of BLAS spin on for a while after a call and take cores from whatever comes next.
_PAUSE_SECONDS = 0.1
_ROOT = Path(__file__).parents[2]


class Row(NamedTuple):
    what: str
    measured: str
    aim: str


class Timing(NamedTuple):
    """Seconds of one call, round by round. Processor time adds up all threads."""

    wall: np.ndarray
    processor: np.ndarray


def timed(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        jax.block_until_ready(call())
    return (time.perf_counter() - wall) / repeats, (time.process_time() - processor) / repeats


def interleaved(
    calls: Mapping[str, Callable[[], Any]], rounds: int, *, repeats: int = 1, warm_up: bool = True
) -> dict[str, Timing]:
    """All calls timed in turn; a warm-up round is not counted."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds + warm_up):
        for name, call in calls.items():
            time.sleep(_PAUSE_SECONDS)
            seen[name].append(timed(call, repeats))
    return {name: Timing(*np.transpose(times[warm_up:])) for name, times in seen.items()}


def ratio(top: Timing, bottom: Timing) -> float:
    return float(np.median(top.wall / bottom.wall))


def describe(name: str, timing: Timing, steps: int = 1) -> str:
    wall, processor = (1e3 * np.median(seconds) / steps for seconds in timing)
    return f"{name} {wall:.3g} ms (processor {processor:.3g})"


def ratio_text(times: Mapping[str, Timing], top: str, bottom: str, steps: int = 1) -> str:
    described = ", ".join(describe(name, times[name], steps) for name in (top, bottom))
    return f"{ratio(times[top], times[bottom]):.2f}: {described}"


def process_status(field: str) -> int | None:
    """Bytes. Not getrusage, whose maximum a process inherits from the one that started it."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return 1024 * int(line.split()[1])
    return None


def forget_peak() -> None:
    """Let VmHWM count from now on; where that is refused it includes building the problem."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def header(title: str, quick: bool) -> str:
    device = jax.devices()[0]
    lines = [
        f"# {title}",
        "",
        f"* processor: {processor_name()}, {os.cpu_count()} cores; {threads.describe()} "
        f"(XLA, BLAS); load average at the start {os.getloadavg()[0]:.1f}",
        f"* device: {device.platform}, {device.device_kind}; dtype {jnp.zeros(()).dtype}",
        f"* jax {jax.__version__}, numpy {np.__version__}{torch_version()}, Python "
        f"{platform.python_version()}",
        "* what is compared is run in turn; times and ratios are medians over the rounds; "
        "processor time, in brackets, adds up all threads",
    ]
    if quick:
        lines.append("* `--quick`: tiny sizes that only show that the script runs")
    return "\n".join([*lines, "", "| what | measured | aim |", "|---|---|---|"])


def processor_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def torch_version() -> str:
    if not importlib.util.find_spec("torch"):
        return ""
    return f", torch {importlib.import_module('torch').__version__}"


def main(name: str, title: str, rows: Callable[[bool], Iterator[Row]]) -> None:
    """The command line of one benchmark; `rows(quick)` measures as it goes."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, a few seconds")
    parser.add_argument("--threads", type=int, help="cores to use; all available ones if absent")
    parser.add_argument("--out", type=Path, help="the Markdown file to write")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    folder = _ROOT / "figures" / "benchmarks" / ("quick" if options.quick else ".")
    out = options.out or folder / f"{name}.md"
    lines = [header(title, options.quick)]
    print(lines[0], flush=True)
    for row in rows(options.quick):
        lines.append(f"| {row.what} | {row.measured} | {row.aim} |")
        print(lines[-1], flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n")

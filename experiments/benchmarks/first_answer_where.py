"""What jax compiles for a case of `first_answer.py`."""

import time
from collections import defaultdict

import jax

from experiments.benchmarks import first_answer_ours
from experiments.benchmarks.first_answer_cases import Clock

_KINDS = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "XLA",
}


class Program:
    """Seconds of each kind, over all programs of one name."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(_KINDS.values(), 0.0)
        self.compiled = 0

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def print_programs(case: str) -> None:
    """Run the case here and print its stages and its programs, those that took longest first."""
    programs: dict[str, Program] = defaultdict(Program)

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event in _KINDS:
            program = programs[str(kwargs["fun_name"]).removeprefix("jit(").removesuffix(")")]
            program.seconds[_KINDS[event]] += duration_secs
            program.compiled += _KINDS[event] == "XLA"

    jax.config.update("jax_enable_compilation_cache", False)
    jax.monitoring.register_event_duration_secs_listener(listen)
    clock, began = Clock(), time.perf_counter()
    getattr(first_answer_ours, case)(clock)
    whole = time.perf_counter() - began
    stages = ", ".join(f"{stage} {wall:.2f}" for stage, (wall, _) in clock.seconds.items())
    total = sum(program.total for program in programs.values())
    number = sum(program.compiled for program in programs.values())
    print(f"{case}: {whole:.2f} s after the imports ({stages})")
    print(f"{total:.2f} s of them to make {number} programs, seconds by name:\n")
    print("| program | compiled | tracing | lowering | XLA | total |\n|---|---|---|---|---|---|")
    for name, program in sorted(programs.items(), key=lambda item: -item[1].total):
        kinds = " | ".join(f"{seconds:.3f}" for seconds in program.seconds.values())
        print(f"| {name} | {program.compiled} | {kinds} | {program.total:.3f} |")

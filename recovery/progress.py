"""A progress bar that a compiled loop can drive."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int
from tqdm import tqdm

from recovery._lanes import max_over_lanes

_REPORTS = 100  # about so many calls out of the compiled loop a solve


class _Bar:
    """One bar on the screen; reports may arrive late or out of order, or from several lanes."""

    def __init__(self):
        self.bar: tqdm | None = None

    def show(self, step: int, total: int) -> None:
        if self.bar is None or self.bar.total != total:
            self.close()
            # disable=None: silent where no terminal is watching.
            self.bar = tqdm(total=total, desc="solve", unit="step", disable=None)
        self.bar.update(max(0, step - self.bar.n))
        if step == total:
            self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


_bar = _Bar()


def report(step: Int[Array, ""], record_every: Int[Array, ""], max_steps: Int[Array, ""]) -> None:
    """Called inside a compiled loop after every `record_every` steps."""
    step = max_over_lanes(step)  # one bar for a batch, that of its longest run

    def show() -> None:
        jax.debug.callback(lambda n, total: _bar.show(int(n), int(total)), step, max_steps)

    stride = record_every * jnp.maximum(1, max_steps // record_every // _REPORTS)
    jax.lax.cond((step % stride == 0) | (step == max_steps), show, lambda: None)


def finish() -> None:
    """Wait for the last report and take the bar down."""
    jax.effects_barrier()
    _bar.close()

"""The strictest settings that jax and the type checker offer."""

from pathlib import Path

import jax
import jaxtyping
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Shapes and types in annotations are checked at every call from here on.
install_import_hook("recovery", "runtime_types.check").__enter__()

# Linux allows a process 65,530 memory maps, and every compiled program keeps some: beyond that the
# compiler crashes.
_MANY_MAPS = 25_000


def pytest_configure(config):
    from recovery import program_cache  # not before its types are checked

    program_cache.enable()
    config.addinivalue_line("filterwarnings", "ignore:Error .* persistent compilation cache")


@pytest.fixture(autouse=True)
def _forget_old_programs():
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()


@pytest.fixture
def without_type_checker():
    """As a user runs the library: the run-time checks of the other tests would answer first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def compiled(caplog):
    """How many programs a call compiles."""

    def count(call) -> int:
        caplog.clear()
        with jax.log_compiles():
            jax.block_until_ready(call())
        return sum("Finished XLA compilation" in x.getMessage() for x in caplog.records)

    return count

"""Solvers for low-rank and bilinear recovery on JAX."""

from importlib.metadata import version as _version

from recovery._lazy import from_stub as _from_stub
from recovery.solve import solve as solve  # at once: its module of the same name would hide it

__getattr__, __dir__, __all__ = _from_stub(__name__)
__version__ = _version("recovery")

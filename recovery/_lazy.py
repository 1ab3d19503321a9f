"""Names of a package that are loaded when they are first used (PEP 562)."""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def from_stub(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package, for what its `__init__.pyi` imports.

    Type checkers and editors read the stub too, so that every name stands in one place.
    """
    module = sys.modules[package]
    assert module.__file__ is not None
    origin = _imported(Path(module.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))

    def load(name: str) -> Any:
        if name not in origin:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if origin[name] == package:
            value = import_module(f"{package}.{name}")
        else:
            value = getattr(import_module(origin[name]), name)
        setattr(module, name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(module), *origin})

    return load, names, sorted(origin)


def _imported(stub: str) -> dict[str, str]:
    """The module that each name is imported from."""
    statements = [s for s in ast.parse(stub).body if isinstance(s, ast.ImportFrom)]
    return {alias.name: s.module or "" for s in statements for alias in s.names}

"""A function that every process of a sweep can find again."""

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from recovery.sweeps.errors import StudyError, nearest


@dataclass(frozen=True)
class FunctionReference:
    """A function at the top of a module or of a Python file.

    Attributes:
        module: its dotted name, or the absolute path of a file that ends in .py.
        name: of the function.
    """

    module: str
    name: str

    @classmethod
    def parse(cls, text: Any, folder: Path = Path()) -> "FunctionReference":
        """From "package.module:name", or "file.py:name" with a path relative to `folder`."""
        module, _, name = text.rpartition(":") if isinstance(text, str) else ("", "", "")
        if not module or not name.isidentifier():
            raise StudyError(
                f"function is {text!r}, but 'file.py:name' or 'package.module:name' is needed."
            )
        if module.endswith(".py"):
            module = str((folder / module).resolve())
        return cls(module, name)

    @classmethod
    def of(cls, function: "Callable | str | FunctionReference") -> "FunctionReference":
        if isinstance(function, FunctionReference):
            return function
        if isinstance(function, str):
            return cls.parse(function)
        name = getattr(function, "__qualname__", repr(function))
        if not name.isidentifier():
            raise StudyError(
                f"other processes cannot find {name}: put the function at the top of a module or "
                "script."
            )
        module = function.__module__
        if module == "__main__":
            file = getattr(sys.modules["__main__"], "__file__", None)
            module = str(Path(file).resolve()) if file else module
        reference = cls(module, name)
        _GIVEN[reference] = function
        return reference

    @property
    def identity(self) -> str:
        """What stays the same where the file lies elsewhere."""
        stem = Path(self.module).stem if self.module.endswith(".py") else self.module.split(".")[-1]
        return f"{stem}:{self.name}"

    def load(self) -> Callable[..., Any]:
        """The function itself."""
        if self in _GIVEN:
            return _GIVEN[self]
        module = _load(self.module)
        function = getattr(module, self.name, None)
        if not callable(function):
            known = [name for name, value in vars(module).items() if inspect.isfunction(value)]
            raise StudyError(
                f"{self.module} has no function {self.name!r}: {nearest(self.name, known)}"
            )
        return function

    def source_hash(self) -> str:
        """Of the file that holds the function, to tell its versions apart; "" for a notebook's."""
        try:
            file = inspect.getsourcefile(self.load())
            return hashlib.sha256(Path(file or "").read_bytes()).hexdigest()[:16]
        except (OSError, TypeError):
            return ""

    def check_arguments(self, names: Sequence[str]) -> None:
        """Refuse a function that cannot be called with keys and these arguments."""
        parameters = inspect.signature(self.load()).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        _, *known = parameters or [""]  # the first one takes the keys
        for name in () if takes_all else names:
            if name not in known:
                raise StudyError(f"{self.name} has no argument {name!r}: {nearest(name, known)}")
        missing = [n for n in known if n not in names and parameters[n].default is _NO_DEFAULT]
        missing = [n for n in missing if parameters[n].kind is not inspect.Parameter.VAR_KEYWORD]
        if missing:
            raise StudyError(
                f"{self.name} needs {missing[0]!r}, which is no axis and no setting: add it to one."
            )


_NO_DEFAULT = inspect.Parameter.empty
# Functions given as objects, some of notebooks, where nothing can be imported again.
_GIVEN: dict[FunctionReference, Callable[..., Any]] = {}


@functools.cache
def _load(module: str) -> ModuleType:
    if not module.endswith(".py"):
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise StudyError(
                f"the module {module} of the function is not found: {error}."
            ) from None
    path = Path(module)
    if not path.is_file():
        raise StudyError(f"there is no file {path}, which should hold the function.")
    name = f"{path.stem}_{hashlib.sha256(module.encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded

"""A function that every process of a sweep can find again."""

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from recovery.sweeps.errors import StudyError, nearest

_NO_DEFAULT = inspect.Parameter.empty


@dataclass(frozen=True)
class FunctionReference:
    """A function at the top of a module or of a Python file.

    Attributes:
        module: its dotted name, or the absolute path of a file that ends in .py.
        name: of the function.
        source: a hash of the file, by which all processes of a run take the same version of it.
    """

    module: str
    name: str
    source: str = field(default="", compare=False)

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
        return cls(module, name, _hash_of(module))

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
        reference = cls(module, name, _hash_of(module))
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
        module = _load_file(self.module, self.source) if self._in_file else _load(self.module)
        function = getattr(module, self.name, None)
        if not callable(function):
            known = [name for name, value in vars(module).items() if inspect.isfunction(value)]
            hint = nearest(self.name, known)
            raise StudyError(f"{self.module} has no function {self.name!r}: {hint}")
        return function

    @property
    def _in_file(self) -> bool:
        return self.module.endswith(".py")

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


# Functions given as objects, some of notebooks, where nothing can be imported again.
_GIVEN: dict[FunctionReference, Callable[..., Any]] = {}


def _hash_of(module: str) -> str:
    """Of the file of a module that lies in one; "" elsewhere."""
    try:
        if not module.endswith(".py"):
            found = importlib.util.find_spec(module)
            module = str(found.origin) if found else ""
        return hashlib.sha256(Path(module).read_bytes()).hexdigest()[:16]
    except (OSError, ImportError, ValueError):
        return ""


def _load(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise StudyError(f"the module {module} of the function is not found: {error}.") from None


@functools.cache
def _load_file(path: str, source: str) -> ModuleType:
    if not Path(path).is_file():
        raise StudyError(f"there is no file {path}, which should hold the function.")
    if source and _hash_of(path) != source:
        raise StudyError(f"{path} has changed since the study was read: run again.")
    name = f"{Path(path).stem}_{hashlib.sha256((path + source).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:
        del sys.modules[name]
        raise StudyError(f"{path} cannot be imported: {type(error).__name__}: {error}.") from error
    return loaded

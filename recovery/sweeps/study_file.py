"""Studies in TOML files."""

import tomllib
from pathlib import Path
from typing import Any

from recovery.sweeps.errors import StudyError, refuse_unknown
from recovery.sweeps.function import FunctionReference
from recovery.sweeps.study import Study

# The tables of a file and what they may hold; None is for names of the study's own.
_TABLES = {
    "grid": None,
    "settings": None,
    "random": ("seed", "streams"),
    "batch": ("size", "how", "static", "shared", "precision"),
}


def read_study(path: str | Path, *, quick: bool = False) -> Study:
    """The study of a file; `quick` puts what its table [quick] holds in place of the rest.

        function = "file.py:name"     # relative to this file, or "package.module:name"
        [settings]                    # arguments that are the same for every cell
        [grid]                        # trial = {range = 8} counts from 0 to 7
        [random]                      # seed, and streams.problem = ["rank", "trial"]
        [batch]                       # size, how, static, shared, precision
        [quick.grid]                  # smaller values of some axes; also quick.settings, ...

    Raises StudyError, which names the nearest valid entry for an unknown one.
    """
    path = Path(path)
    content = _read(path)
    smaller = content.pop("quick", {})
    if not isinstance(smaller, dict):
        raise StudyError(f"{path}: quick is {smaller!r}, but a table [quick] is needed.")
    if quick and not smaller:
        raise StudyError(f"{path} has no table [quick]: add one, or leave --quick out.")
    refuse_unknown(path, content, ("function", *_TABLES, "quick"))
    refuse_unknown(f"{path} [quick]", smaller, _TABLES)
    tables = {
        name: _table(path, content, name) | (_table(path, smaller, name) if quick else {})
        for name in _TABLES
    }
    if "function" not in content:
        raise StudyError(f'{path} names no function: add function = "file.py:name".')
    batch = tables["batch"]
    size = {"batch_size": batch.pop("size")} if "size" in batch else {}
    function = FunctionReference.parse(content["function"], path.parent)
    options: dict[str, Any] = size | batch | tables["random"] | {"settings": tables["settings"]}
    return Study(function, tables["grid"], **options)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise StudyError(f"the study file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is no TOML file: {error}.") from None


def _table(path: Path, content: Any, name: str) -> dict[str, Any]:
    table = content.get(name, {}) if isinstance(content, dict) else content
    if not isinstance(table, dict):
        raise StudyError(f"{path}: {name} is {table!r}, but a table [{name}] is needed.")
    known = _TABLES[name]
    if known is not None:
        refuse_unknown(f"{path} [{name}]", table, known)
    return dict(table)

"""Finished batches on disk.

    study.json          what decides the numbers of a cell, and where its function lies
    grids/0000.json     the grid; 0001.json one that has grown from it, and so on
    parts/KEY.npz       a finished batch; KEY.failed.npz one with cells that failed

Every file appears as a whole, and only failed batches are ever replaced. So any process may be
killed at any time and any number of them may work on one store; what is left to do is a difference
of sets.
"""

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from recovery.files import whole_file
from recovery.sweeps.batches import Batch, batches
from recovery.sweeps.compute import OK, Computed
from recovery.sweeps.errors import StoreError
from recovery.sweeps.files import (
    check_writable,
    create_json,
    explained,
    read_json,
    remove_leftovers,
)
from recovery.sweeps.function import FunctionReference
from recovery.sweeps.grid import Grid, Value
from recovery.sweeps.study import PROTOCOL, Study, canonical

_DONE, _FAILED = ".npz", ".failed.npz"


class Failure(NamedTuple):
    """A cell without a result."""

    cell: dict[str, Value]
    status: str
    message: str


class Part(NamedTuple):
    """A batch as it was stored."""

    cells: list[dict[str, Value]]
    ids: list[str]
    computed: Computed
    origin: dict[str, Any]  # versions, device, host and time

    def failures(self) -> list[Failure]:
        every = zip(self.cells, self.computed.status, self.computed.message, strict=True)
        return [Failure(*entry) for entry in every if entry[1] != OK]


class Store:
    """The results of one study in a folder. `open_store` begins one."""

    def __init__(self, root: str | Path):
        self.root = Path(root).resolve()
        if not (self.root / "study.json").exists() or not self._grid_files():
            raise StoreError(f"{self.root} holds no study: name the folder that run wrote.")
        self._content = read_json(self.root / "study.json")
        if self._content.get("description", {}).get("protocol") != PROTOCOL:
            raise StoreError(f"{self.root} was written by another version of recovery: begin anew.")

    @property
    def description(self) -> dict[str, Any]:
        return self._content["description"]

    @functools.cached_property
    def study(self) -> Study:
        """The study on all cells that its grids name. Its function is not looked for."""
        known = {name: value for name, value in self.description.items() if name != "protocol"}
        function = FunctionReference(self._content["module"], self._content["name"])
        return Study(**known | {"function": function, "grid": self.grids()[-1]})

    def grids(self) -> list[Grid]:
        """The first grid and those it has grown to, oldest first."""
        return [
            {axis: tuple(values) for axis, values in read_json(file)} for file in self._grid_files()
        ]

    def batches(self) -> list[Batch]:
        return batches(self.study, self.grids())

    def parts(self) -> tuple[set[str], set[str]]:
        """Keys of the batches all of whose cells are in order, and of those with failed cells."""
        names = [name for name in os.listdir(self.root / "parts") if name.endswith(_DONE)]
        failed = {n.removesuffix(_FAILED) for n in names if n.endswith(_FAILED)}
        finished = {n.removesuffix(_DONE) for n in names if not n.endswith(_FAILED)}
        return finished, failed - finished

    def has(self, key: str) -> bool:
        """Whether a batch is there with all its cells in order."""
        return self._path(key, _DONE).exists()

    def write(self, batch: Batch, computed: Computed, origin: dict[str, Any]) -> None:
        """Keep a batch, and of an earlier attempt what was in order.

        Raises StoreError where the disk does not take it.
        """
        done, failed = self._path(batch.key, _DONE), self._path(batch.key, _FAILED)
        if computed.num_failed and failed.exists():
            computed = computed.or_earlier(self.read(batch.key).computed)
        content: dict[str, Any] = {
            "cells": json.dumps([batch.cell(i, batch.axes) for i in range(len(batch.cells))]),
            "ids": list(batch.ids),
            "status": computed.status,
            "message": computed.message,
            "origin": json.dumps(origin),
        }
        content |= {f"outputs/{name}": value for name, value in computed.outputs.items()}
        with explained(self.root):
            with whole_file(failed if computed.num_failed else done) as file:
                np.savez(file, allow_pickle=False, **content)
            if not computed.num_failed:
                failed.unlink(missing_ok=True)

    def read(self, key: str) -> Part:
        found = self._arrays(key)
        outputs = {k.removeprefix("outputs/"): v for k, v in found.items() if "/" in k}
        computed = Computed(outputs, found["status"].tolist(), found["message"].tolist())
        cells, origin = (json.loads(str(found[name])) for name in ("cells", "origin"))
        return Part(cells, found["ids"].tolist(), computed, origin)

    def origin(self, key: str) -> dict[str, Any]:
        """Where a batch comes from, without reading its numbers."""
        return json.loads(str(self._arrays(key, ["origin"])["origin"]))

    def _arrays(self, key: str, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        path = self._path(key, _DONE)
        if not path.exists():
            path = self._path(key, _FAILED)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
                return {name: data[name] for name in names or data.files}
        except FileNotFoundError:
            if self.has(key):  # finished by another run in between
                return self._arrays(key, names)
            raise StoreError(f"{path} is not there any more: run the study again.") from None
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise StoreError(
                f"{path} cannot be read ({error}): delete it and run the study again."
            ) from None

    def _path(self, key: str, end: str) -> Path:
        return self.root / "parts" / (key + end)

    def _grid_files(self) -> list[Path]:
        return sorted((self.root / "grids").glob("[0-9]*.json"))


def open_store(study: Study, root: str | Path) -> Store:
    """Begin a store, or find that of the same study, whose grid may grow or change its order.

    Raises StoreError for the store of another study, for a grid that lacks cells of the store, and
    for a folder that cannot be written.
    """
    root = Path(root).resolve()
    with explained(root):
        for folder in (root / "grids", root / "parts"):
            folder.mkdir(parents=True, exist_ok=True)
        check_writable(root / "parts")
        where = {"module": study.reference.module, "name": study.reference.name}
        create_json(root / "study.json", {"description": study.description(), **where})
        _refuse_other(root, study)
        _grow(root, study)
        for folder in (root, root / "grids", root / "parts"):
            remove_leftovers(folder)
    return Store(root)


def _refuse_other(root: Path, study: Study) -> None:
    """Name the first entry that differs."""
    theirs = _flat(read_json(root / "study.json").get("description", {}))
    mine = _flat(study.description())
    for name in {**theirs, **mine}:
        there, here = (canonical(flat[name]) if name in flat else "not" for flat in (theirs, mine))
        if there != here:
            raise StoreError(
                f"the store {root} holds another study: {name} is {there} there and {here} here. "
                "Give another --store."
            )


def _grow(root: Path, study: Study) -> None:
    files = sorted((root / "grids").glob("[0-9]*.json"))
    held = dict(read_json(files[-1])) if files else {}
    for axis, values in held.items():
        wanted = study.axes[axis]
        missing = [value for value in values if value not in wanted]
        if missing:
            raise StoreError(
                f"the store {root} has {axis} = {missing[0]!r}, which the study lacks: a grid may "
                "only grow. Add it, or give another --store."
            )
        if type(values[0]) is not type(wanted[0]):
            raise StoreError(
                f"the store {root} has {axis} = {values[0]!r}, the study {wanted[0]!r}: write "
                "them alike, or give another --store."
            )
    grid = [[axis, list(values)] for axis, values in study.axes.items()]
    if [list(entry) for entry in held.items()] == grid:
        return  # a new order of the values adds no cell, but is the one to collect in
    if not create_json(root / "grids" / f"{len(files):04}.json", grid):
        _grow(root, study)  # another run was faster: look again


def _flat(description: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in description.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat

"""Finished batches on disk.

    study.json          what decides the numbers of a cell, and where its function lies
    grids/0000.json     the grid; 0001.json one that has grown from it, and so on
    parts/KEY.npz       a finished batch; KEY.failed.npz one with cells that failed

Every file is written once, as a whole, by one process. So any process may be killed at any time and
any number of them may work on one store; what is left to do is a difference of sets.
"""

import functools
import json
import os
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from recovery.files import whole_file
from recovery.sweeps.batches import Batch, batches
from recovery.sweeps.compute import Computed
from recovery.sweeps.errors import StoreError
from recovery.sweeps.files import (
    check_writable,
    create_json,
    explained,
    read_json,
    remove_leftovers,
)
from recovery.sweeps.function import FunctionReference
from recovery.sweeps.grid import Grid
from recovery.sweeps.study import PROTOCOL, Study

_DONE, _FAILED = ".npz", ".failed.npz"


class Part(NamedTuple):
    """A batch as it was stored."""

    cells: list[dict[str, Any]]
    ids: list[str]
    computed: Computed
    origin: dict[str, Any]  # versions, device, host and time


class Store:
    """The results of one study in a folder. `open_store` begins one."""

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not (self.root / "study.json").exists():
            raise StoreError(f"{self.root} holds no study: name the folder that run wrote.")

    @property
    def description(self) -> dict[str, Any]:
        return read_json(self.root / "study.json")["description"]

    @functools.cached_property
    def study(self) -> Study:
        """The study on all cells that its grids name. Its function is not looked for."""
        content = read_json(self.root / "study.json")
        known = dict(content["description"])
        if known.pop("protocol") != PROTOCOL:
            raise StoreError(f"{self.root} was written by another version of recovery: begin anew.")
        function = FunctionReference(content["module"], content["name"])
        return Study(**known | {"function": function, "grid": self.grids()[-1]})

    def grids(self) -> list[Grid]:
        """The first grid and those it has grown to, oldest first."""
        files = sorted((self.root / "grids").glob("[0-9]*.json"))
        return [{axis: tuple(values) for axis, values in read_json(file)} for file in files]

    def batches(self) -> list[Batch]:
        return batches(self.study, self.grids())

    def finished(self) -> set[str]:
        """Keys of the batches all of whose cells are in order."""
        return {n.removesuffix(_DONE) for n in self._parts() if not n.endswith(_FAILED)}

    def failed(self) -> set[str]:
        """Keys of the batches with failed cells."""
        found = {n.removesuffix(_FAILED) for n in self._parts() if n.endswith(_FAILED)}
        return found - self.finished()

    def write(self, batch: Batch, computed: Computed, origin: dict[str, Any]) -> None:
        """Raises StoreError where the disk does not take it."""
        content: dict[str, Any] = {
            "cells": json.dumps([batch.cell(i, batch.axes) for i in range(len(batch.cells))]),
            "ids": list(batch.ids),
            "status": computed.status,
            "message": computed.message,
            "origin": json.dumps(origin),
        }
        content |= {f"outputs/{name}": value for name, value in computed.outputs.items()}
        done, failed = (self.root / "parts" / (batch.key + end) for end in (_DONE, _FAILED))
        with explained(self.root):
            with whole_file(failed if computed.num_failed else done) as file:
                np.savez(file, **content)
            if not computed.num_failed:
                failed.unlink(missing_ok=True)

    def read(self, key: str) -> Part:
        path = self.root / "parts" / (key + _DONE)
        if not path.exists():
            path = self.root / "parts" / (key + _FAILED)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
                found = dict(data)
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise StoreError(
                f"{path} cannot be read ({error}): delete it and run the study again."
            ) from None
        outputs = {k.removeprefix("outputs/"): v for k, v in found.items() if "/" in k}
        computed = Computed(outputs, found["status"].tolist(), found["message"].tolist())
        cells, origin = (json.loads(str(found[name])) for name in ("cells", "origin"))
        return Part(cells, found["ids"].tolist(), computed, origin)

    def _parts(self) -> list[str]:
        return [name for name in os.listdir(self.root / "parts") if name.endswith(_DONE)]


def open_store(study: Study, root: str | Path) -> Store:
    """Begin a store, or find that of the same study, whose grid may grow or change its order.

    Raises StoreError for the store of another study, for a grid that lacks cells of the store, and
    for a folder that cannot be written.
    """
    root = Path(root)
    with explained(root):
        for folder in (root / "grids", root / "parts"):
            folder.mkdir(parents=True, exist_ok=True)
        check_writable(root / "parts")
        where = {"module": study.reference.module, "name": study.reference.name}
        create_json(root / "study.json", {"description": study.description(), **where})
        store = Store(root)
        _refuse_other(store, study)
        _grow(store, study)
        remove_leftovers(root / "parts")
    return store


def _refuse_other(store: Store, study: Study) -> None:
    """Name the first entry that differs."""
    mine, theirs = (_flat(d) for d in (study.description(), store.description))
    for name in {**theirs, **mine}:
        if mine.get(name) != theirs.get(name):
            raise StoreError(
                f"the store {store.root} holds another study: {name} is {theirs.get(name)!r} there "
                f"and {mine.get(name)!r} here. Give another --store."
            )


def _grow(store: Store, study: Study) -> None:
    grids = store.grids()
    held = grids[-1] if grids else {}
    for axis, values in held.items():
        wanted = study.axes[axis]
        missing = [value for value in values if value not in wanted]
        if missing:
            raise StoreError(
                f"the store {store.root} has {axis} = {missing[0]!r}, which the study lacks: a "
                "grid may only grow. Add it, or give another --store."
            )
        if type(values[0]) is not type(wanted[0]):
            raise StoreError(
                f"the store {store.root} has {axis} = {values[0]!r}, the study {wanted[0]!r}: "
                "write them alike, or give another --store."
            )
    if list(held.items()) == list(study.axes.items()):
        return  # a new order of the values adds no cell, but is the one to collect in
    grid = [[axis, list(values)] for axis, values in study.axes.items()]
    if not create_json(store.root / "grids" / f"{len(grids):04}.json", grid):
        _grow(store, study)  # another run was faster: look again


def _flat(description: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in description.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat

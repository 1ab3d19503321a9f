"""All results of a study, in arrays whose first axes are those of its grid."""

import csv
import io
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recovery.files import whole_file
from recovery.sweeps.compute import OK
from recovery.sweeps.errors import StudyError
from recovery.sweeps.grid import Grid
from recovery.sweeps.store import Failure, Part, Store
from recovery.sweeps.study import canonical

if TYPE_CHECKING:
    import xarray

MISSING = "missing"
STATUS = ("error", "lost", MISSING, "nonfinite", "ok")  # sorted


class Collected(NamedTuple):
    """Results of a sweep, finished or not.

    Attributes:
        axes: their values, in the order of the first axes of every array.
        values: what the function returned, by name. NaN, or 0 for whole numbers, where a cell is
            missing or failed; arrays of several lengths are filled up with NaN.
        status: "ok", "nonfinite", "error", "lost" or "missing" for each cell.
        message: why a cell failed.
        description: of the study.
        origins: number of cells from each combination of versions, device and source file.
    """

    axes: Grid
    values: dict[str, np.ndarray]
    status: np.ndarray
    message: np.ndarray
    description: dict[str, Any]
    origins: dict[str, int]

    def to_xarray(self) -> "xarray.Dataset":
        """A labelled data set; needs xarray, which the extra [results] installs."""
        try:
            import xarray
        except ImportError:
            raise StudyError(
                'xarray is missing: pip install "recovery[results]", or write .csv or .npz.'
            ) from None
        dims = tuple(self.axes)
        variables: dict[str, Any] = {
            name: ((*dims, *(f"{name}_{i}" for i in range(array.ndim - len(dims)))), array)
            for name, array in self.values.items()
        }
        # Codes with their meanings, by the CF conventions: every format keeps numbers.
        codes = np.searchsorted(STATUS, self.status).astype(np.int8)
        meanings = {"flag_values": np.arange(len(STATUS), dtype=np.int8)}
        meanings |= {"flag_meanings": " ".join(STATUS)}
        variables["status"] = (dims, codes, meanings)
        coordinates = {axis: np.asarray(values) for axis, values in self.axes.items()}
        notes = {
            "study": canonical(self.description),
            "origins": canonical(self.origins),
            "failures": canonical([failure._asdict() for failure in self.failures()]),
        }
        return xarray.Dataset(variables, coordinates, attrs=notes)

    def failures(self) -> list[Failure]:
        """The cells that failed, in the order of the grid."""
        failed = np.argwhere((self.status != OK) & (self.status != MISSING)).tolist()
        return [self._failure(tuple(place)) for place in failed]

    def _failure(self, place: tuple[int, ...]) -> Failure:
        cell = {axis: self.axes[axis][i] for axis, i in zip(self.axes, place, strict=True)}
        return Failure(cell, str(self.status[place]), str(self.message[place]))

    def write(self, path: str | Path) -> None:
        """To .zarr, .nc (both by xarray), .npz, or .csv, which holds the numbers but no arrays."""
        path = Path(path)
        writers = {
            ".zarr": self._write_zarr,
            ".nc": self._write_netcdf,
            ".npz": self._write_npz,
            ".csv": self._write_csv,
        }
        if path.suffix not in writers:
            raise StudyError(f"{path} must end in one of {', '.join(writers)}.")
        if not path.parent.is_dir():
            raise StudyError(f"the folder {path.parent} of {path} is missing: create it.")
        writers[path.suffix](path)

    def _write_zarr(self, path: Path) -> None:
        data, unfinished = self.to_xarray(), _unfinished(path)
        data.to_zarr(unfinished, mode="w", zarr_format=3, consolidated=False)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(unfinished, path)

    def _write_netcdf(self, path: Path) -> None:
        complex_names = [name for name, array in self.values.items() if array.dtype.kind == "c"]
        data = self.to_xarray()
        for name in complex_names:  # which the format does not know
            data[f"{name}_real"], data[f"{name}_imag"] = data[name].real, data[name].imag
            data = data.drop_vars(name)
        data.to_netcdf(_unfinished(path), engine="h5netcdf")
        os.replace(_unfinished(path), path)

    def _write_npz(self, path: Path) -> None:
        arrays: dict[str, Any] = {f"axis/{a}": np.asarray(v) for a, v in self.axes.items()}
        arrays |= {f"results/{name}": array for name, array in self.values.items()}
        arrays |= {"status": self.status, "message": self.message}
        with whole_file(path) as file:
            np.savez(file, **arrays)

    def _write_csv(self, path: Path) -> None:
        numbers = {n: a.ravel() for n, a in self.values.items() if a.ndim == len(self.axes)}
        cells = np.meshgrid(*(np.asarray(v) for v in self.axes.values()), indexing="ij")
        columns = [*(axis.ravel() for axis in cells), *numbers.values()]
        columns += [self.status.ravel(), self.message.ravel()]
        lines = zip(*(column.tolist() for column in columns), strict=True)
        with whole_file(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            writer = csv.writer(text)
            writer.writerow([*self.axes, *numbers, "status", "message"])
            writer.writerows(lines)
            text.detach()  # flushed, and the file left open


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def collect(store: str | Path) -> Collected:
    """Everything that a store holds; it may still be growing."""
    opened = Store(store)
    parts = [opened.read(key) for key in sorted(set.union(*opened.parts()))]
    grid = opened.grids()[-1]  # after the parts, none of which it may lack
    shape = tuple(len(values) for values in grid.values())
    status = np.full(shape, MISSING, "<U9")
    longest = max((len(m) for part in parts for m in part.computed.message), default=0)
    message = np.full(shape, "", f"<U{max(1, longest)}")
    values = _blank(parts, shape)
    places = {axis: {value: i for i, value in enumerate(grid[axis])} for axis in grid}
    origins = Counter[str]()
    for part in parts:
        index = tuple(np.array([places[axis][cell[axis]] for cell in part.cells]) for axis in grid)
        status[index], message[index] = part.computed.status, part.computed.message
        for name, array in part.computed.outputs.items():
            inner = tuple(slice(length) for length in array.shape[1:])
            values[name][(*index, *inner)] = array
        origin = {k: v for k, v in part.origin.items() if k in ("versions", "device", "source")}
        origins[canonical(origin)] += len(part.cells)
    return Collected(grid, values, status, message, opened.description, dict(origins))


def _blank(parts: list[Part], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """An array for each output that all parts fit into."""
    kinds: dict[str, list[np.ndarray]] = {}
    for part in parts:
        for name, array in part.computed.outputs.items():
            kinds.setdefault(name, []).append(array)
    return {name: _blank_array(name, arrays, shape) for name, arrays in kinds.items()}


def _blank_array(name: str, arrays: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    inner = {array.shape[1:] for array in arrays}
    if len({len(lengths) for lengths in inner}) > 1:
        raise StudyError(
            f"{name} has different numbers of axes in different cells, {sorted(inner)}: return it "
            "in one form."
        )
    longest = tuple(int(n) for n in np.max(np.array(list(inner), int), axis=0)) if inner else ()
    dtype = np.result_type(*arrays)
    if dtype.kind in "iub" and len(inner) > 1:
        dtype = np.dtype(float)
    return np.full(shape + longest, np.nan if dtype.kind in "fc" else 0, dtype)

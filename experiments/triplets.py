"""Observed entries of a matrix from a file of triplets: row, column, value.

| extension | contents |
|---|---|
| .csv .tsv .txt .dat .data | one entry a line, separated by `::`, tab, `;`, `,` or spaces |
| .parquet | columns named row, col and value, or the first three |
| .mtx .mtx.gz | Matrix Market in coordinate format; ids are its indices, from 1 |
| .npz | written by `scipy.sparse.save_npz`; ids are indices from 0 |

Text is UTF-8, with the decimal point. Its first line is a header if none of its first three fields
is a number, the third is not empty, and the next line has as many fields; the separator is that of
the first line. Columns after the third are ignored. The ids of a side are whole numbers if all of
them are written as such, without a sign + or leading zeros, and text as it stands otherwise.
"""

import csv
import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.io import mmread

NAMES = ("row", "col", "value")
SEPARATORS = ("::", "\t", ";", ",")
ENCODING = "utf-8-sig"  # a byte-order mark is no part of the first id
# For a search in bytes: what stands around a field becomes a comma, and each digit above 0 a 1.
# A byte-order mark ends in BF.
OUTLINE = bytes.maketrans(b'\t\n\r ;:"\xbf23456789', b",,,,,,,,11111111")
UNUSUAL = (b",+", b",00", b",01", b",-0,", b",-00", b",-01")
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]
Pairs = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Triplets:
    """Entries by row and column numbers from 0; row i of the matrix has the id `row_ids[i]`.

    Ids are distinct and sorted, and each has at least one entry. Values are finite, and no place
    has two of them.
    """

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray
    row_ids: np.ndarray
    col_ids: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return self.row_ids.size, self.col_ids.size


def read_triplets(path: Path) -> Triplets:
    """Raises ValueError, with a sentence that names the place, for what is no set of entries."""
    check_file(path)
    reader = next((r for suffix, r in READERS.items() if path.name.lower().endswith(suffix)), None)
    if reader is None:
        raise ValueError(f"{path} has an unknown extension: one of {', '.join(READERS)} is needed.")
    try:
        row_ids, col_ids, values = reader(path)
    except (ValueError, OSError) as error:  # not every library names the file
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    if values.size == 0:
        raise ValueError(f"{path} holds no entries.")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        place = f"(row {row_ids[bad[0]]}, column {col_ids[bad[0]]})"
        raise ValueError(f"{path}: the value of {place} is {values[bad[0]]}; drop such entries.")
    return numbered(path, row_ids, col_ids, values)


def read_pairs(path: Path, triplets: Triplets) -> Pairs:
    """Numbers of rows and columns from lines of ids.

    A first line of two unknown ids that are no numbers is a header, and a printed line says so.
    """
    check_file(path)
    separator, _ = text_layout(path)
    first, _ = next(numbered_lines(path))
    sides = numbers_by_id(triplets.row_ids), numbers_by_id(triplets.col_ids)
    found = []
    for number, line in numbered_lines(path):
        ids = fields(line, separator)[:2]
        pair = [side.get(name) for side, name in zip(sides, ids, strict=False)]
        if len(pair) == 2 and None not in pair:
            found.append(pair)
        elif number == first and pair == [None, None] and not any(map(is_number, ids)):
            print(f"{path}, line {number}, '{line.strip()}', is taken for a header")
        else:
            raise ValueError(
                f"{path}, line {number}, '{line.strip()}', is no known row and column."
            )
    if not found:
        raise ValueError(f"{path} holds no pairs: give a known row and column on each line.")
    rows, cols = np.asarray(found, dtype=int).reshape(-1, 2).T
    return rows, cols


def numbers_by_id(ids: np.ndarray) -> dict[str, int]:
    return {str(name): number for number, name in enumerate(ids.tolist())}


def check_file(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"{path} is a folder, but a file is needed: name one.")
    if not path.is_file():
        raise ValueError(f"{path} does not exist.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty.")


def numbered(path: Path, rows: np.ndarray, cols: np.ndarray, values: np.ndarray) -> Triplets:
    row_ids, rows = np.unique(rows, return_inverse=True)
    col_ids, cols = np.unique(cols, return_inverse=True)
    places = np.sort(rows * col_ids.size + cols)
    repeated = np.unique(places[1:][places[1:] == places[:-1]])
    if repeated.size:
        row, col = divmod(int(repeated[0]), col_ids.size)
        raise ValueError(
            f"{path} gives the entry (row {row_ids[row]}, column {col_ids[col]}) more than once, "
            f"and so {repeated.size} places in all: keep one value of each, or their mean."
        )
    return Triplets(rows, cols, values, row_ids, col_ids)


def read_text(path: Path) -> Columns:
    separator, skipped = text_layout(path)
    try:
        columns = parse_numbers(path, separator, skipped) or parse_text(path, separator, skipped)
        if not np.isfinite(columns[2]).all() or any((ids == "").any() for ids in columns[:2]):
            raise ValueError("an id is empty or a value is not finite.")
    except ValueError as error:
        raise ValueError(bad_line(path, separator, skipped) or f"{path}: {error}") from error
    return columns


def text_layout(path: Path) -> tuple[str | None, int]:
    """The separator (None for spaces) and the number of lines before the first entry."""
    lines = numbered_lines(path)
    number, line = next(lines, (0, ""))
    if number == 0:
        raise ValueError(f"{path} is empty.")
    unquoted = re.sub('"[^"]*"', "", line)
    separator = next((mark for mark in SEPARATORS if mark in unquoted), None)
    _, following = next(lines, (0, line))  # a header may stand alone
    names, entry = fields(line, separator), fields(following, separator)
    alike = len(names) == len(entry) > 2
    header = alike and names[2] and not any(map(is_number, names[:3]))
    return separator, number if header else number - 1


def parse_numbers(path: Path, separator: str | None, skipped: int) -> Columns | None:
    """Ids that are whole numbers, the fast way; None if they are not, or a line is bad."""
    try:
        with warnings.catch_warnings():
            # An id 1.5 would be cut to 1, with only this warning.
            warnings.simplefilter("error", DeprecationWarning)
            kind = np.dtype([("row", np.int64), ("col", np.int64), ("value", float)])
            table = load_text(path, separator, skipped, kind)
    except (ValueError, DeprecationWarning):
        return None
    if has_unusual_numbers(path):
        return None
    return table["row"], table["col"], table["value"]


def has_unusual_numbers(path: Path) -> bool:
    """Whether there may be a + or a leading zero: read as integers, 007 and 7 would be one id."""
    with path.open("rb") as file:
        end = b","
        while block := file.read(1 << 20):
            outline = end + block.translate(OUTLINE)
            if any(mark in outline for mark in UNUSUAL):
                return True
            end = outline[-3:]
    return False


def parse_text(path: Path, separator: str | None, skipped: int) -> Columns:
    table = np.strings.strip(load_text(path, separator, skipped, np.dtype(str)))
    if (np.strings.find(table, "\n") >= 0).any():
        raise ValueError("a quote is not closed in its line.")
    if (np.strings.find(table[:, 2], "_") >= 0).any():
        raise ValueError("a value holds '_', and is no number.")
    return whole_numbers(table[:, 0]), whole_numbers(table[:, 1]), table[:, 2].astype(float)


def load_text(path: Path, separator: str | None, skipped: int, kind: np.dtype) -> np.ndarray:
    options: dict[str, Any] = {"usecols": (0, 1, 2), "dtype": kind, "encoding": ENCODING}
    options |= {"comments": None, "quotechar": '"', "ndmin": 1 if kind.names else 2}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*contained no data", UserWarning)
        if kind.names and separator != "::":
            return np.loadtxt(path, delimiter=separator, skiprows=skipped, **options)
        delimiter = "\t" if separator == "::" else separator
        return np.loadtxt(tidy_lines(path, separator, skipped), delimiter=delimiter, **options)


def tidy_lines(path: Path, separator: str | None, skipped: int) -> Iterator[str]:
    """Entries as numpy reads them: separators of one character, and no space before a quote."""
    mark = "\t" if separator == "::" else separator or " "
    spaces = re.compile(f'{mark} +"')
    for number, line in numbered_lines(path):
        if number > skipped:
            yield spaces.sub(f'{mark}"', line.strip(" ").replace(separator or mark, mark))


def whole_numbers(ids: np.ndarray) -> np.ndarray:
    """Ids as numbers if that changes the spelling of none, so that they are sorted as such."""
    try:
        numbers = ids.astype(np.int64)
    except (ValueError, OverflowError):
        return ids
    return numbers if (numbers.astype(str) == ids).all() else ids


def bad_line(path: Path, separator: str | None, skipped: int) -> str | None:
    """A sentence on the first line that is no entry: slow, only for when there is one."""
    for count, (number, line) in enumerate(numbered_lines(path)):
        if number > skipped and (fault := fault_of(fields(line, separator), separator)):
            hint = "" if count else "; a header has as many fields as the next line, three or more"
            return f"{path}, line {number}, '{line.strip()}', {fault}{hint}."
    return None


def fault_of(found: list[str], separator: str | None) -> str | None:
    if len(found) < 3:
        mark = {None: "spaces", "\t": "tabs"}.get(separator, f"'{separator}'")
        return f"has {len(found)} fields by {mark}, but a row, a column and a value are needed"
    if "" in found[:2]:
        return "has an empty id"
    if not is_number(found[2]):
        return f"has the value '{found[2]}', which is no number"
    return None if math.isfinite(float(found[2])) else f"has the value {found[2]}: drop such lines"


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, and their numbers from 1."""
    try:
        with path.open(encoding=ENCODING) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8.") from error


def fields(line: str, separator: str | None) -> list[str]:
    mark = "\t" if separator == "::" else separator or " "
    text = line.strip(" \n").replace(separator or mark, mark)
    found = next(csv.reader([text], delimiter=mark, skipinitialspace=True))
    return [field.strip() for field in found]


def is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field  # Python reads 1_000, numpy does not


def read_parquet(path: Path) -> Columns:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ValueError(f'{path} needs pyarrow: pip install "recovery[files]".') from error
    given = pq.read_schema(path).names
    names = list(NAMES) if set(NAMES) <= set(given) else given[:3]
    if len(names) < 3:
        raise ValueError(f"{path} has {len(names)} columns, but row, col and value are needed.")
    table = pq.read_table(path, columns=names)
    rows, cols = (parquet_ids(path, name, table.column(name)) for name in names[:2])
    return rows, cols, table.column(names[2]).to_numpy().astype(float)


def parquet_ids(path: Path, name: str, column: Any) -> np.ndarray:
    if column.null_count:
        raise ValueError(f"{path}: column '{name}' lacks {column.null_count} ids.")
    ids = column.to_numpy()
    if np.issubdtype(ids.dtype, np.integer):
        return ids
    if not all(isinstance(value, str) for value in ids):
        raise ValueError(
            f"{path}: column '{name}' holds {column.type}, but ids are whole numbers or text."
        )
    return ids.astype(str)


def read_matrix_market(path: Path) -> Columns:
    return stored_entries(path, mmread(str(path), spmatrix=False), first=1)


def read_sparse(path: Path) -> Columns:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .npz file: write it with scipy.sparse.save_npz.")
    return stored_entries(path, sp.load_npz(path), first=0)


def stored_entries(path: Path, matrix: Any, *, first: int) -> Columns:
    """What the file holds, explicit zeros too."""
    if not sp.issparse(matrix) or np.iscomplexobj(matrix):
        raise ValueError(f"{path} holds no sparse real matrix.")
    entries = sp.coo_array(matrix)
    rows, cols = (index.astype(np.int64) + first for index in entries.coords)
    return rows, cols, entries.data.astype(float)


READERS: dict[str, Callable[[Path], Columns]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".dat", ".data"), read_text),
    ".parquet": read_parquet,
    **dict.fromkeys((".mtx", ".mtx.gz"), read_matrix_market),
    ".npz": read_sparse,
}

"""The scripts that complete a user's entries and a photograph, at small sizes."""

import dataclasses
import os
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.io import mmwrite

from experiments import complete_entries, inpainting
from experiments.triplets import read_pairs, read_triplets

N1, N2 = 24, 18
RANK = 3  # of the truth, after any number was subtracted from its entries
EXACT = ["--rank", str(RANK), "--ridge", "1e-9", "--steps", "60"]


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    rng = np.random.default_rng(0)
    # The same row added everywhere: without the mean the rank stays, and is as well conditioned.
    row = 3 + 4 * rng.standard_normal(N2)
    return row[None] + rng.standard_normal((N1, RANK - 1)) @ rng.standard_normal((RANK - 1, N2))


@pytest.fixture(scope="module")
def entries(truth) -> sp.coo_array:
    mask = np.random.default_rng(1).random(truth.shape) < 0.6
    return sp.coo_array((truth[mask], np.nonzero(mask)), shape=truth.shape)


def triples(entries) -> list[tuple[int, int, float]]:
    return list(zip(*(x.tolist() for x in (*entries.coords, entries.data)), strict=True))


def write_csv(path, entries, *, line="{},{},{!r}\n", header=""):
    path.write_text(header + "".join(line.format(*entry) for entry in triples(entries)))
    return path


def write_parquet(path, entries):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows, cols = entries.coords
    pq.write_table(pa.table({"value": entries.data, "col": cols, "row": rows}), path)
    return path


def write_mtx(path, entries):
    mmwrite(path, entries, precision=17)
    return path


def write_npz(path, entries):
    sp.save_npz(path, entries.tocsr())
    return path


def completed(out) -> np.ndarray:
    with np.load(out) as found:
        return found["mean"] + found["left"] @ found["right"].T


WRITERS = {"a.csv": write_csv, "a.parquet": write_parquet, "a.mtx": write_mtx, "a.npz": write_npz}


@pytest.mark.parametrize("name", WRITERS)
def test_low_rank_matrix_is_recovered(name, truth, entries, tmp_path, capsys):
    path = WRITERS[name](tmp_path / name, entries)
    out, plot = tmp_path / "out" / "factors.npz", tmp_path / "out" / "errors.png"
    out.parent.mkdir()
    complete_entries.main([str(path), *EXACT, "--out", str(out), "--plot", str(plot)])
    np.testing.assert_allclose(completed(out), truth, atol=1e-5)
    with np.load(out) as found:
        first = 1 if name == "a.mtx" else 0
        np.testing.assert_array_equal(found["row_ids"], np.arange(first, first + N1))
        assert found["rank"] == RANK
        assert found["ridge"] == 1e-9
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert sorted(x.name for x in out.parent.iterdir()) == ["errors.png", "factors.npz"]
    held_out = float(capsys.readouterr().out.splitlines()[4].split("|")[3])
    assert held_out < 1e-5


@pytest.mark.parametrize(
    ("line", "header"),
    [
        ("{},{},{!r}\n", "row,col,value\n"),
        ("{}::{}::{!r}::978300760\n", ""),
        ("{}\t{}\t{!r}\r\n", "\ufeffrow\tcol\tvalue\r\n"),
        ("{};{};{!r}\n\n", "\n"),
        ("{}  {} {!r}\n", ""),
        ('"{}","{}",{!r}\n', '"user, its id","film","rating"\n'),
    ],
)
def test_layouts_of_text_hold_the_same_entries(line, header, entries, tmp_path):
    found = read_triplets(write_csv(tmp_path / "a.csv", entries, line=line, header=header))
    back = sp.coo_array((found.values, (found.rows, found.cols)), shape=found.shape)
    np.testing.assert_array_equal(back.toarray(), entries.toarray())
    assert found.row_ids.tolist() == list(range(N1))


def test_text_ids_predictions_and_best_columns(truth, entries, tmp_path, capsys):
    path = write_csv(tmp_path / "a.csv", entries, line="user {},{},{!r}\n")
    pairs, out = tmp_path / "pairs.csv", tmp_path / "factors.npz"
    pairs.write_text("user,film\nuser 7,3\nuser 11,17\n")
    argv = [str(path), *EXACT, "--out", str(out)]
    complete_entries.main([*argv, "--predict", str(pairs), "--top", "user 7", "3"])
    with np.load(out) as found:
        assert found["row_ids"].tolist() == sorted(f"user {i}" for i in range(N1))
        assert found["col_ids"].tolist() == list(range(N2))
    header, *lines = (tmp_path / "factors.predictions.csv").read_text().splitlines()
    assert header == "row,col,prediction"
    assert [x.split(",")[:2] for x in lines] == [["user 7", "3"], ["user 11", "17"]]
    predicted = [float(x.split(",")[2]) for x in lines]
    np.testing.assert_allclose(predicted, [truth[7, 3], truth[11, 17]], atol=1e-5)
    unseen = np.where(entries.toarray()[7] == 0, truth[7], -np.inf)
    best = [int(x.split("|")[1]) for x in capsys.readouterr().out.splitlines()[-3:]]
    assert best == np.argsort(-unseen)[:3].tolist()


def test_parquet_takes_the_first_columns_and_text_ids(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    names = pa.array(["b", "a", "b"])
    pq.write_table(pa.table({"u": names, "v": [5, 5, 9], "w": [1.0, 2.0, 3.0], "x": names}), path)
    found = read_triplets(path)
    assert found.row_ids.tolist() == ["a", "b"]
    assert found.col_ids.tolist() == [5, 9]
    assert found.rows.tolist() == [1, 0, 1]
    assert found.values.tolist() == [1, 2, 3]


def test_every_row_and_column_keeps_an_entry_for_training(tmp_path):
    lines = [f"{i},{i % 3},1.5\n" for i in range(12)] + ["0,1,2\n", "0,2,2\n", "4,0,1\n"]
    (tmp_path / "a.csv").write_text("".join(lines))
    triplets = read_triplets(tmp_path / "a.csv")
    split = complete_entries.hold_out(triplets, 0.9, seed=0)
    assert set(triplets.rows[split.training]) == set(range(12))
    assert set(triplets.cols[split.training]) == set(range(3))
    assert split.held_out.size > 0
    assert sorted([*split.training, *split.held_out]) == list(range(15))


def test_default_ridge_beats_none_under_noise(truth, entries):
    noise = np.random.default_rng(2).standard_normal(entries.data.size)
    rows, cols = entries.coords
    values = 0.5 * entries.data + noise
    ids = np.arange(N1), np.arange(N2)
    split = complete_entries.hold_out(complete_entries.Triplets(rows, cols, values, *ids), 0.1, 0)
    small, default = (
        complete_entries.fit_rank(split, split.problem(), RANK, x, biases=False, max_steps=60)
        for x in (1e-9, split.default_ridge)
    )
    assert small.training < default.training
    assert default.held_out < small.held_out


def test_biases_are_two_more_columns(entries, truth, tmp_path):
    path, out = write_csv(tmp_path / "a.csv", entries), tmp_path / "factors.npz"
    complete_entries.main([str(path), "--rank", "2", "--biases", "--out", str(out)])
    with np.load(out) as found:
        np.testing.assert_array_equal(found["left"][:, 3], 1)
        np.testing.assert_array_equal(found["right"][:, 2], 1)
        assert found["right"].shape == (N2, 4)
    spread = np.linalg.norm(truth - truth.mean())
    assert np.linalg.norm(completed(out) - truth) < 0.8 * spread


GOOD = "1,1,2\n1,2,3\n2,1,4\n2,2,5\n3,1,1\n3,2,2\n"
BAD_FILES = [
    ("a.csv", None, "does not exist"),
    ("a.csv", "", "a.csv is empty"),
    ("a.csv", "\n\n", "a.csv is empty"),
    ("a.csv", "row,col,value\n", "holds no entries"),
    ("a.xls", GOOD, "unknown extension: one of .csv, "),
    ("a.csv", GOOD + "\n4,5\n", "line 8, '4,5', has 2 fields"),
    ("a.csv", GOOD + "4,5,high\n", "line 7, '4,5,high', has the value 'high', which is no number"),
    ("a.csv", "row,col,value\n" + GOOD + "4,5,nan\n", "line 8, '4,5,nan', has the value nan"),
    ("a.csv", GOOD + "x,5,inf\n", "line 7, 'x,5,inf', has the value inf"),
    ("a.csv", GOOD + ",5,1\n", "line 7, ',5,1', has an empty id"),
    ("a.csv", GOOD + "4,5,1_000\n", "line 7, '4,5,1_000', has the value '1_000'"),
    ("a.csv", GOOD + "x,5,1_000\n", "line 7, 'x,5,1_000', has the value '1_000'"),
    ("a.csv", "alice,f1,\n" + GOOD, "line 1, 'alice,f1,', has the value '', which is no number"),
    ("a.csv", "user,item,value\n1,2,3,4\n", "line 1, .* as many fields as the next line"),
    ("a.csv", '"alice,f1,3\nbob",f2,4\n', "line 1, '\"alice,f1,3', has 1 fields by ','"),
    ("a.csv", "# by x; y\n" + GOOD, "line 1, '# by x; y', has 2 fields by ';'"),
    ("a.csv", "# ratings\n" + GOOD, "line 1, '# ratings', has 2 fields by spaces"),
    ("a.csv", GOOD + "2,1,7\n", r"the entry \(row 2, column 1\) more than once"),
    ("a.npz", GOOD, "is no .npz file"),
    ("a.mtx", GOOD, "a.mtx: "),
    ("a.parquet", GOOD, "a.parquet: "),
]


@pytest.mark.parametrize(("name", "text", "sentence"), BAD_FILES)
def test_bad_file_is_named_and_nothing_written(name, text, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(SystemExit, match="^error: .*" + sentence):
        complete_entries.main([name])
    assert [x.name for x in tmp_path.iterdir()] == ([] if text is None else [name])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--rank 2 3", "rank 3 was asked for, but the matrix is 3 x 2"),
        ("--rank 0", "rank 0 was asked for"),
        ("--hold-out 1", "between 0 and 1, got 1"),
        ("--hold-out 0", "between 0 and 1, got 0"),
        ("--hold-out nan", "between 0 and 1, got nan"),
        ("--ridge -1", "ridge"),
        ("--rank 2 --ridge 0", "have fewer than 2 observed entries"),
        ("--out .", r"--out \. must end in .npz"),
        ("--out x.csv", "--out x.csv must end in .npz"),
        ("--out folder.npz", "folder.npz is a folder, but a file is written"),
        ("--out absent/x.npz", "the folder absent of absent/x.npz is missing: create it"),
        ("--out here.npz --predict here.npz", "--out here.npz is the file of the data"),
        ("--plot a.pdf --predict a.pdf", "a.pdf is the file of the data"),
        ("--predict completed.predictions.csv", "predictions.csv is the file of the data"),
        ("--predict .", r"\. is a folder, but a file is needed"),
        ("--steps -1", "max_steps"),
        ("--plot a.xyz", "a.xyz has an unknown extension: a figure"),
        ("--predict absent.csv", "absent.csv does not exist"),
        ("--top 9 1", "row '9' has no entry"),
        ("--top 1 1", "row '1' has 0 columns to choose"),
    ],
)
def test_bad_option_is_named_and_nothing_written(options, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(SystemExit, match="^error: .*" + sentence):
        complete_entries.main(["a.csv", "--rank", "1", *options.split()])
    assert sorted(x.name for x in tmp_path.iterdir()) == ["a.csv", "folder.npz"]


def test_data_are_not_replaced(entries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = write_npz(tmp_path / "data.npz", entries).read_bytes()
    with pytest.raises(SystemExit, match=r"--out data\.npz is the file of the data: give another"):
        complete_entries.main(["data.npz", "--out", "data.npz"])
    assert (tmp_path / "data.npz").read_bytes() == before


def test_too_large_a_rank_is_refused_before_the_fits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(GOOD)
    fitted = []
    monkeypatch.setattr(complete_entries.Split, "error", lambda *_: fitted.append(1) or 0.0)
    with pytest.raises(SystemExit, match="have fewer than 2 observed entries"):
        complete_entries.main(["a.csv", "--rank", "1", "2", "--ridge", "0"])
    assert len(fitted) == 1  # of the mean alone


def test_equal_values_are_completed(tmp_path):
    out = tmp_path / "factors.npz"
    (tmp_path / "a.csv").write_text("".join(f"{i},{j},1\n" for i in range(4) for j in range(i, 4)))
    complete_entries.main([str(tmp_path / "a.csv"), "--rank", "1", "2", "--out", str(out)])
    np.testing.assert_allclose(completed(out), 1)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("0001,1,2\n002,1,3\n", ["0001", "002"]),
        ("2,1,2\n1_0,1,3\n10,1,4\n", ["10", "1_0", "2"]),
        ("1,1,2\n+5,1,3\n5,1,4\n", ["+5", "1", "5"]),
        ("-0,1,2\n0,1,3\n", ["-0", "0"]),
        ("\uff11,1,2\n1,1,3\n", ["1", "\uff11"]),
        ("\ufeff01,1,2\n1,1,3\n", ["01", "1"]),
        ("9::1::2\n10::1::-0.5\n", [9, 10]),
        ("9,1,2\n \t\n10,1,3\n", [9, 10]),
        ('alice,  "Toy, Story", 3\n "bob", f1, 4\n', ["alice", "bob"]),
        ('"u 1"  1 2\nv 1 3 \n', ["u 1", "v"]),
        ('"a;b",1,2\n"c;d",1,3\n', ["a;b", "c;d"]),
    ],
)
def test_ids_are_kept_as_they_are_spelled(text, ids, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text)
    triplets = read_triplets(path)
    assert triplets.row_ids.tolist() == ids
    assert complete_entries.top_request([str(ids[0]), "1"], wider(triplets)) == (0, 1)


def wider(triplets):
    """With one more column, which no row has an entry in."""
    return dataclasses.replace(triplets, col_ids=np.append(triplets.col_ids, "new"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("01,1\n01,99\n", "line 2, '01,99', is no known row and column"),
        ("1,99\n01,1\n", "line 1, '1,99', is no known row and column"),
        ("row,col\nrow,col\n", "line 2, 'row,col', is no known row and column"),
        ("row,col\n", "pairs.csv holds no pairs"),
        ("01\n", "line 1, '01', is no known row and column"),
    ],
)
def test_bad_pairs_are_named(text, sentence, tmp_path):
    (tmp_path / "a.csv").write_text("01,1,2\n002,1,3\n")
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_pairs(tmp_path / "pairs.csv", read_triplets(tmp_path / "a.csv"))


def test_header_of_pairs_is_reported(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("01,1,2\n002,1,3\n")
    (tmp_path / "pairs.csv").write_text("\nuser,film\n002,1\n")
    rows, cols = read_pairs(tmp_path / "pairs.csv", read_triplets(tmp_path / "a.csv"))
    assert (rows.tolist(), cols.tolist()) == ([0], [0])  # "002" is before "01"
    assert "line 2, 'user,film', is taken for a header" in capsys.readouterr().out


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_text(GOOD)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(SystemExit, match=r'pip install "recovery\[files\]"'):
        complete_entries.main([str(tmp_path / "a.parquet")])


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "factors.npz"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"), complete_entries.whole_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_inpainting_beats_filling_with_the_mean(tmp_path, capsys):
    out = tmp_path / "inpainting.png"
    argv = ["--size", "32", "--missing", "0.5", "--rank", "4", "--out", str(out)]
    inpainting.main(argv)
    assert out.stat().st_size > 10_000
    filled, found = capsys.readouterr().out.splitlines()[-2:]
    best, completed, mean = (float(x) for x in (*found.split("|")[3:6:2], filled.split("|")[5]))
    assert best < completed < 0.9 * mean


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--missing", "1"], "--missing must lie between 0 and 1"),
        (["--size", "32", "--missing", "0.99"], "of 1024 pixels are observed, but at least 100"),
        (["--size", "32", "--rank", "2", "40"], "rank 40 was asked for, but the matrix is 32 x 32"),
    ],
)
def test_inpainting_refuses_what_cannot_be_completed(options, sentence, tmp_path):
    with pytest.raises(SystemExit, match=sentence):
        inpainting.main([*options, "--out", str(tmp_path / "inpainting.png")])

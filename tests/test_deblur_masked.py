"""The script that deblurs a user's own masked pictures, at small sizes."""

from pathlib import Path

import numpy as np
import pytest

from experiments import deblur_masked
from experiments.photograph import load_photograph

SIZE = 32


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "data.npz"
    deblur_masked.main([str(path), "--demo", "--size", str(SIZE)])
    return path


def deblur(data: Path, tmp_path: Path, *options: str) -> dict:
    """What the script writes for this file."""
    out = tmp_path / "out.npz"
    deblur_masked.main([str(data), "--out", str(out), *options])
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".*"))
    with np.load(out) as found:
        return dict(found)


def relative(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


def test_demonstration_is_deblurred(demo, tmp_path, capsys):
    scene, blur = load_photograph(SIZE), deblur_masked.demo_blur(SIZE)
    found = deblur(demo, tmp_path)
    with np.load(demo) as given:
        assert relative(2 * given["pictures"].mean(axis=0), scene) > 0.2
    assert relative(found["scene"], scene) < 0.04
    assert relative(found["blur"], blur) < 0.15
    assert found["blur"].sum() == pytest.approx(1)
    assert found["noise_std"] == pytest.approx(deblur_masked.DEMO_NOISE, rel=0.1)
    assert found["explained"]
    printed = capsys.readouterr().out
    assert f"| frequencies used | {found['band'].sum()} of 1024 |" in printed
    assert "NOT" not in printed


def test_refinement_brings_the_error_down(demo, tmp_path):
    scene = load_photograph(SIZE)
    first = deblur(demo, tmp_path, "--steps", "0")
    refined = deblur(demo, tmp_path)
    assert relative(refined["scene"], scene) < 0.5 * relative(first["scene"], scene)
    assert refined["relative_residual"] < first["relative_residual"]


def test_a_frame_of_zeros_makes_a_real_convolution_circular(tmp_path):
    rng = np.random.default_rng(0)
    scene, masks = load_photograph(SIZE), np.zeros((24, SIZE, SIZE))
    masks[:, 4:-4, 4:-4] = rng.choice([-1, 1], (24, SIZE - 8, SIZE - 8))
    blur = rng.random((4, 5)) + 0.2
    blur /= blur.sum()
    pictures = np.zeros_like(masks)
    for row, column in np.ndindex(blur.shape):
        moved = (masks * scene)[:, : SIZE - row, : SIZE - column]
        pictures[:, row:, column:] += blur[row, column] * moved
    np.savez(tmp_path / "data.npz", pictures=pictures, masks=masks)
    found = deblur(tmp_path / "data.npz", tmp_path, "--noise", "1e-12")
    inner = np.s_[4:-4, 4:-4]
    assert relative(found["scene"][inner], scene[inner]) < 1e-5
    assert relative(found["blur"][:4, :5], blur) < 1e-5
    assert np.isnan(found["scene"]).sum() == SIZE**2 - (SIZE - 8) ** 2


def test_says_that_masks_do_not_belong_to_the_pictures(demo, tmp_path, capsys):
    with np.load(demo) as given:
        np.savez(tmp_path / "data.npz", pictures=given["pictures"], masks=given["masks"][::-1])
    assert not deblur(tmp_path / "data.npz", tmp_path)["explained"]
    assert "NOT EXPLAINED" in capsys.readouterr().out


SHAPE = (6, 8, 8)
MASKS = np.random.default_rng(0).integers(0, 2, SHAPE).astype(float)
PICTURES = 1 + MASKS
BAD_ARRAYS = [
    ({"masks": None}, "has no array masks: write it with numpy.savez"),
    ({"pictures": PICTURES * 1j}, "pictures cannot be read .its dtype is complex128"),
    ({"pictures": PICTURES[:5]}, r"pictures have shape \(5, 8, 8\) and masks \(6, 8, 8\), but"),
    ({"pictures": PICTURES[0], "masks": MASKS[0]}, r"pictures have shape \(8, 8\)"),
    ({"pictures": PICTURES * np.nan}, "pictures hold 384 entries that are NaN or infinite"),
    ({"pictures": 0 * PICTURES}, "all pictures are zero everywhere"),
    ({"masks": 0 * MASKS}, "all masks are zero everywhere"),
    ({"masks": 1 + 0 * MASKS}, "all 6 masks are the same, so that the blur could be anything"),
    (
        {"pictures": np.random.default_rng(1).standard_normal(SHAPE)},
        "hides the pictures .* take pictures of less noise, or give the noise by --noise",
    ),
]


@pytest.mark.parametrize(("change", "sentence"), BAD_ARRAYS)
def test_bad_arrays_are_named_and_nothing_written(change, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = {"pictures": PICTURES, "masks": MASKS} | change
    np.savez("data.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(SystemExit, match="^error: .*" + sentence):
        deblur_masked.main(["data.npz"])
    assert [x.name for x in tmp_path.iterdir()] == ["data.npz"]


def test_too_few_pictures_are_refused_with_the_number_needed(demo, tmp_path):
    with np.load(demo) as given:
        few = {name: given[name][:3] for name in ("pictures", "masks")}
    np.savez(tmp_path / "data.npz", **few)
    sentence = "^error: 3 pictures of .* pixels and .* gains: take . or more"
    with pytest.raises(SystemExit, match=sentence):
        deblur_masked.main([str(tmp_path / "data.npz"), "--out", str(tmp_path / "out.npz")])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--noise -1", "--noise must be at least 0, got -1"),
        ("--steps -1", "--steps must be at least 0, got -1"),
        ("--out a.txt", "--out a.txt must end in .npz"),
        ("--out data.npz", "--out data.npz is the file of the data"),
        ("--figure absent/a.png", "the folder absent of absent/a.png is missing"),
        ("--demo", "data.npz exists: give another name"),
    ],
)
def test_bad_option_is_named_and_nothing_written(options, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", pictures=PICTURES, masks=MASKS)
    before = Path("data.npz").read_bytes()
    with pytest.raises(SystemExit, match="^error: .*" + sentence):
        deblur_masked.main(["data.npz", *options.split()])
    assert [x.name for x in tmp_path.iterdir()] == ["data.npz"]
    assert Path("data.npz").read_bytes() == before


def test_what_is_no_archive_is_named(tmp_path):
    path = tmp_path / "data.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(SystemExit, match=r"^error: .*data.npz is no .npz file: write it with"):
        deblur_masked.main([str(path), "--out", str(tmp_path / "out.npz")])

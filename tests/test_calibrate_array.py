"""The script that calibrates a user's own array, at small sizes."""

import zlib
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import calibrate_array

M, N, P = 12, 6, 6  # the same shapes everywhere: most of the time goes into compiling
NOISE = 1e-3


def simulate(*, num_signals: int = 1, is_complex: bool = False, noise: float = NOISE) -> dict:
    """The arrays of a file, and the truth, which the script does not read."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        draw = rng.standard_normal(shape)
        return draw + 1j * rng.standard_normal(shape) if is_complex else draw

    gains = rng.uniform(0.5, 1.5, M)
    if is_complex:
        gains = gains * np.exp(2j * np.pi * rng.random(M))
    gains = gains / np.mean(np.abs(gains))
    arrays = {"A": rng.standard_normal((P, M, N)), "gains": gains, "x": normal(num_signals, N)}
    clean = measure(arrays)
    return arrays | {"y": clean + noise * normal(*clean.shape)}


def measure(arrays: dict) -> np.ndarray:
    seen = np.einsum("lij,sj->sli", arrays["A"], arrays["x"])
    return arrays["gains"] * seen.reshape(-1, M)


def calibrate(tmp_path: Path, arrays: dict, *options: str) -> dict:
    """What the script writes for these arrays."""
    data, out = tmp_path / "data.npz", tmp_path / "out.npz"
    np.savez(data, **arrays)
    calibrate_array.main([str(data), "--out", str(out), *options])
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".*"))
    with np.load(out) as found:
        return dict(found)


def assert_within(found: dict, arrays: dict, *, gains: str = "gains", largest: float = 5) -> None:
    """Gains and signals are off by no more than some of their standard deviations."""
    true, signals = arrays["gains"], arrays["x"]
    kept = ~np.isnan(found["gains"])
    scale = np.mean(true[kept])
    if np.iscomplexobj(true):  # the best common factor
        scale = np.vdot(found["gains"][kept], true[kept])
        scale = scale / np.linalg.norm(found["gains"][kept]) ** 2
    for name, truth in (("gains", true / scale), ("signals", signals * scale)):
        error, std = np.abs(found[name] - truth), found[f"{name}_std"]
        places = kept if name == "gains" else np.isfinite(std)
        assert np.all(error[places] < largest * std[places])
        assert np.sqrt(np.mean((error[places] / std[places]) ** 2)) > 0.3  # and they are not vague


def test_gains_and_signal_with_their_uncertainty(tmp_path, capsys):
    arrays = simulate()
    found = calibrate(tmp_path, arrays)
    assert_within(found, arrays)
    assert found["identified"]
    assert found["noise_std"] == pytest.approx(NOISE, rel=0.5)
    assert found["num_unknowns"] == N + M - 1
    residual = arrays["y"] - found["gains"] * (arrays["A"] @ found["signals"][0])
    np.testing.assert_allclose(found["residual_rms"], np.sqrt(np.mean(residual**2, axis=0)))
    printed = capsys.readouterr().out
    assert "| sensors | 12, left out: none |" in printed
    assert "| measurements that count | 72 of 72 |" in printed
    assert "has settled" in printed
    assert "NOT" not in printed
    worst = int(np.argmax(found["residual_rms"]))
    table = printed.split("largest residuals")[1].splitlines()
    assert table[2].startswith(f"| {worst} |")


def test_scale_of_the_matrices_does_not_matter(tmp_path):
    arrays = simulate()
    expected = calibrate(tmp_path, arrays)
    found = calibrate(tmp_path, arrays | {"A": 1e4 * arrays["A"]})
    np.testing.assert_allclose(found["gains"], expected["gains"], rtol=1e-4)
    np.testing.assert_allclose(found["signals"], 1e-4 * expected["signals"], rtol=1e-3)
    np.testing.assert_allclose(found["gains_std"], expected["gains_std"], rtol=1e-3)


def test_flagged_measurements_and_dead_sensors_spoil_nothing(tmp_path, capsys):
    arrays = simulate()
    y, weights, matrices = (np.array(x) for x in (arrays["y"], np.ones((P, M)), arrays["A"]))
    y[1, 2], y[4, 5], weights[1, 2] = 1e6, np.inf, 0
    y[2], weights[2] = 1e3, 0  # a bad snapshot
    y[:, 7] = np.nan  # dead sensors
    y[:, 9], weights[:, 9] = -1e3, 0
    matrices[:, 11] = 0  # one that sees nothing
    found = calibrate(tmp_path, arrays | {"y": y, "weights": weights, "A": matrices})
    assert_within(found, arrays)
    for name in ("gains", "gains_std", "residual_rms"):
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(found[name])), [7, 9, 11])
    assert found["num_measurements"] == (P - 1) * (M - 3) - 2
    printed = capsys.readouterr().out
    assert "| sensors | 12, left out: 7, 9, 11 |" in printed
    assert f"| flagged as NaN or infinite | {P + 1} |" in printed


def test_weights_take_down_what_is_noisy(tmp_path):
    arrays = simulate()
    y, weights = arrays["y"].copy(), np.ones((P, M))
    weights[:, 3] = 0.01
    y[:, 3] += np.random.default_rng(1).standard_normal(P) * NOISE * 100
    found = calibrate(tmp_path, arrays | {"y": y, "weights": weights})
    assert_within(found, arrays)
    assert np.argmax(found["gains_std"]) == 3
    assert found["gains_std"][3] > 5 * np.median(found["gains_std"])


def test_seed_in_place_of_the_matrices_and_two_signals(tmp_path):
    arrays = simulate(num_signals=2)
    key = jax.random.fold_in(jax.random.key(3), zlib.crc32(b"seeded gaussian ensemble"))
    draws = [jax.random.normal(jax.random.fold_in(key, i), (M, N), "float32") for i in range(P)]
    arrays["A"] = np.asarray(draws, float)
    arrays["y"] = measure(arrays) + NOISE * np.random.default_rng(1).standard_normal((2 * P, M))
    given = {"y": arrays["y"], "seed": 3, "signal_size": N, "num_signals": 2}
    found = calibrate(tmp_path, given)
    assert_within(found, arrays)
    assert found["signals"].shape == (2, N)


def test_complex_gains_of_any_phase_and_offsets(tmp_path, capsys):
    arrays = simulate(num_signals=2, is_complex=True)
    offsets = np.random.default_rng(1).standard_normal(M) + 1j
    y = arrays["y"] + offsets
    y[1:, 4] = np.nan  # one measurement does not tell a gain and an offset
    found = calibrate(tmp_path, arrays | {"y": y}, "--offset")
    assert "left out: 4 |" in capsys.readouterr().out
    assert_within(found, arrays)
    kept = np.arange(M) != 4
    np.testing.assert_allclose(found["offsets"][kept], offsets[kept], atol=10 * NOISE)
    assert np.mean(np.abs(found["gains"][kept])) == pytest.approx(1)
    assert found["gains"][0].imag == pytest.approx(0)
    assert found["num_unknowns"] == 2 * N + 2 * (M - 1) - 1


def test_sparse_signals_and_a_spread(tmp_path):
    arrays = simulate()
    arrays["x"] = arrays["x"] * np.isin(np.arange(N), [1, 4])
    arrays["y"] = measure(arrays) + NOISE * np.random.default_rng(1).standard_normal((P, M))
    found = calibrate(tmp_path, arrays, "--sparsity", "2", "--spread", "0.9")
    np.testing.assert_array_equal(np.flatnonzero(found["signals"][0]), [1, 4])
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(found["signals_std"][0])), [1, 4])
    assert found["num_unknowns"] == 2 + M - 1
    assert_within(found, arrays)


def without_an_entry(arrays: dict) -> np.ndarray:
    return arrays["A"] * (np.arange(N) != 3)


def without_a_direction(arrays: dict) -> np.ndarray:
    return arrays["A"] - np.mean(arrays["A"], axis=2, keepdims=True)


def all_the_same(arrays: dict) -> np.ndarray:
    return np.repeat(arrays["A"][:1], P, axis=0)


@pytest.mark.parametrize("noise", [0, NOISE])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without_an_entry, "NOT IDENTIFIED: no matrix shows entry 3 of a signal; take"),
        (without_a_direction, "NOT IDENTIFIED: gains and signals can change together"),
        (all_the_same, "NOT IDENTIFIED: gains and signals can change together"),
    ],
)
def test_says_what_the_data_cannot_identify(change, sentence, noise, tmp_path, capsys):
    arrays = simulate()
    arrays["A"] = change(arrays)
    arrays["y"] = measure(arrays) + noise * np.random.default_rng(1).standard_normal((P, M))
    found = calibrate(tmp_path, arrays)
    assert sentence in capsys.readouterr().out
    assert not found["identified"]
    assert np.isnan(found["gains_std"]).all()


def test_what_is_only_badly_conditioned_is_identified(tmp_path, capsys):
    arrays = simulate()
    column = without_a_direction(arrays)
    arrays["A"] = column + 1e-2 * (arrays["A"] - column)
    arrays["y"] = measure(arrays) + 1e-5 * np.random.default_rng(1).standard_normal((P, M))
    found = calibrate(tmp_path, arrays)
    assert found["identified"]
    assert "NOT" not in capsys.readouterr().out
    assert_within(found, arrays)


def test_as_many_measurements_as_unknowns_tell_no_noise(tmp_path, capsys):
    arrays = simulate(noise=0)
    weights = np.zeros((P, M))
    weights[0], weights[1, : N - 1] = 1, 1
    found = calibrate(tmp_path, arrays | {"weights": weights})
    assert found["num_measurements"] == found["num_unknowns"] == N + M - 1
    assert np.isnan(found["gains_std"]).all()
    assert np.isnan(found["noise_std"])
    printed = capsys.readouterr().out
    assert "gain uncertainty" not in printed
    assert "NOT EXPLAINED" not in printed


def test_exact_data_meet_the_tolerance(tmp_path, capsys):
    arrays = simulate(noise=0)
    found = calibrate(tmp_path, arrays)
    np.testing.assert_allclose(found["gains"], arrays["gains"] / arrays["gains"].mean(), atol=1e-8)
    assert found["identified"]
    assert "met the tolerance" in capsys.readouterr().out


def test_says_that_matrices_do_not_belong_to_the_data(tmp_path, capsys):
    arrays = simulate()
    found = calibrate(tmp_path, arrays | {"A": arrays["A"][::-1]})
    assert "NOT EXPLAINED" in capsys.readouterr().out
    assert not found["identified"]


def test_says_that_noise_is_too_large(tmp_path, capsys):
    arrays = simulate()
    column = without_a_direction(arrays)
    arrays["A"] = column + 1e-3 * (arrays["A"] - column)
    arrays["y"] = measure(arrays) + 0.1 * np.random.default_rng(6).standard_normal((P, M))
    assert not calibrate(tmp_path, arrays)["identified"]
    assert "above half of the gains or signals; take more snapshots" in capsys.readouterr().out


def test_says_that_steps_ran_out(tmp_path, capsys):
    calibrate(tmp_path, simulate(), "--method", "descent", "--max-steps", "20")
    assert "NOT CONVERGED" in capsys.readouterr().out


GOOD = simulate()
RAGGED = np.array([np.ones(2), np.ones(3)], dtype=object)
BAD_ARRAYS = [
    ({"y": None}, "has no array 'y' .*; it holds A"),
    ({"A": None}, "holds y, but one of both is needed: A .* or seed with signal_size"),
    ({"seed": 1}, "holds y, A, seed, but one of both is needed"),
    ({"A": None, "seed": 1}, "signal_size is missing, but with a seed a whole number"),
    ({"A": None, "seed": 1.5, "signal_size": N}, "seed is 1.5, but with a seed a whole number"),
    ({"A": None, "seed": 1, "signal_size": 0}, "signal_size is 0, .* from 1 on"),
    (
        {"A": None, "seed": 1, "signal_size": N, "num_signals": 4},
        "6 shots, but 4 signals need a multiple",
    ),
    ({"y": RAGGED}, "y cannot be read .*allow_pickle.*arrays of numbers"),
    ({"y": np.full((P, M), "high")}, "y cannot be read .its dtype is <U4"),
    ({"y": GOOD["y"][0]}, r"y has shape \(12,\), but \(shots, sensors\) is needed"),
    ({"y": GOOD["y"].T}, r"A has shape \(6, 12, 6\) and y \(12, 6\)"),
    ({"y": GOOD["y"][:5]}, r"A has shape \(6, 12, 6\) and y \(5, 12\).* all p snapshots of each"),
    ({"num_signals": 2}, r"y \(6, 12\) \(num_signals 2\)"),
    ({"A": GOOD["A"][0]}, r"A has shape \(12, 6\)"),
    ({"A": GOOD["A"] * np.nan}, "A holds 432 entries that are NaN or infinite"),
    ({"weights": np.ones((M, P))}, r"weights are float64\[12, 6\], .* entry of y \[6, 12\]"),
    ({"weights": -np.ones((P, M))}, "72 weights are negative or not finite, .-1.. first"),
    ({"weights": np.full((P, M), np.nan)}, "72 weights are negative or not finite"),
    ({"weights": np.full((P, M), 1j)}, "weights are complex128.*real ones"),
    ({"weights": np.zeros((P, M))}, "of 72 measurements 72 are flagged"),
    ({"y": np.full((P, M), np.nan)}, "of 72 measurements 72 are flagged"),
    ({"y": np.zeros((P, M))}, "no sensor can be calibrated: .* nor all 0"),
    ({"y": GOOD["y"][:1], "A": GOOD["A"][:1]}, "12 measurements cannot tell 17 unknowns"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD_ARRAYS)
def test_bad_arrays_are_named_and_nothing_written(change, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = {name: GOOD[name] for name in ("y", "A")} | change
    arrays = {name: array for name, array in arrays.items() if array is not None}
    np.savez("data.npz", allow_pickle=True, **arrays)
    Path("calibrated.npz").write_bytes(b"old")
    with pytest.raises(SystemExit, match="^error: .*" + sentence):
        calibrate_array.main(["data.npz"])
    assert sorted(x.name for x in tmp_path.iterdir()) == ["calibrated.npz", "data.npz"]
    assert Path("calibrated.npz").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--spread 1", "gain_spread must be above 0 and below 1, got 1"),
        ("--spread 0", "gain_spread must be above 0 and below 1, got 0"),
        ("--spread 0.5 --method alternating", "--spread and --sparsity need --method descent"),
        ("--sparsity 7", "sparsity is 7, but signals have 6"),
        ("--sparsity 0", "sparsity must be a whole number of at least 1, got 0"),
        ("--max-steps 0", "--max-steps must be at least 1, got 0"),
        ("--tolerance -1", "tolerance must be at least 0"),
        ("--out absent/out.npz", "the folder absent of absent/out.npz is missing: create it"),
        ("--figure absent/a.png", "the folder absent of absent/a.png is missing: create it"),
        ("--figure a.xyz", "a.xyz has an unknown extension: a figure"),
        ("--out a.txt", "--out a.txt must end in .npz"),
        ("--out data.npz", "--out data.npz is the file of the data"),
    ],
)
def test_bad_option_is_named_and_nothing_written(options, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", y=GOOD["y"], A=GOOD["A"])
    with pytest.raises(SystemExit, match="^error: .*" + sentence):
        calibrate_array.main(["data.npz", *options.split()])
    assert [x.name for x in tmp_path.iterdir()] == ["data.npz"]


@pytest.mark.parametrize(
    ("contents", "sentence"),
    [
        (None, "data.npz does not exist"),
        (b"", "data.npz is empty"),
        (b"no archive", "data.npz is no .npz file: write it with numpy.savez"),
    ],
)
def test_what_is_no_archive_is_named(contents, sentence, tmp_path):
    path = tmp_path / "data.npz"
    if contents is not None:
        path.write_bytes(contents)
    with pytest.raises(SystemExit, match="^error: .*" + sentence):
        calibrate_array.main([str(path), "--out", str(tmp_path / "out.npz")])
    assert list(tmp_path.iterdir()) == ([] if contents is None else [path])

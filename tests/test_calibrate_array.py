"""The script that calibrates a user's own array, at small sizes."""

import zlib
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import calibrate_array

M, N, P = 12, 6, 6  # the same shapes everywhere: most of the time goes into compiling
OWN_N = 4  # entries of signals that one shot sees alone
NOISE = 1e-3


def simulate(*, num_signals: int = 1, is_complex: bool = False, noise: float = NOISE) -> dict:
    """The arrays of a file, and the truth, which the script does not read."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        draw = rng.standard_normal(shape)
        return draw + 1j * rng.standard_normal(shape) if is_complex else draw

    gains = random_gains(rng, is_complex=is_complex)
    arrays = {"A": rng.standard_normal((P, M, N)), "gains": gains, "x": normal(num_signals, N)}
    clean = measure(arrays)
    return arrays | {"y": clean + noise * normal(*clean.shape)}


def random_gains(rng: np.random.Generator, *, is_complex: bool) -> np.ndarray:
    gains = rng.uniform(0.5, 1.5, M)
    if is_complex:
        gains = gains * np.exp(2j * np.pi * rng.random(M))
    return gains / np.mean(np.abs(gains))


def measure(arrays: dict) -> np.ndarray:
    seen = np.einsum("lij,sj->sli", arrays["A"], arrays["x"])
    return arrays["gains"] * seen.reshape(-1, M)


def simulate_own(model: str, *, is_complex: bool = False, noise: float = NOISE) -> dict:
    """As `simulate`, but every shot is of a signal of its own, of fewer entries."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        draw = rng.standard_normal(shape)
        return draw + 1j * rng.standard_normal(shape) if is_complex else draw

    gains = random_gains(rng, is_complex=is_complex)
    matrices = rng.standard_normal((1 if model == "snapshots" else P, M, OWN_N))
    arrays = {"A": matrices, "gains": gains, "x": normal(P, OWN_N)}
    clean = gains * np.einsum("lij,lj->li", np.broadcast_to(matrices, (P, M, OWN_N)), arrays["x"])
    return arrays | {"y": clean + noise * normal(P, M)}


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


@pytest.mark.parametrize(
    ("model", "method", "is_complex"),
    [
        ("repeated", "linear", True),
        ("repeated", "spectral", True),
        ("repeated", "pencil", False),
        ("diverse", "alternating", False),
        ("diverse", "descent", False),
        ("diverse", "linear", False),
        ("diverse", "pencil", True),
        ("snapshots", "alternating", False),
        ("snapshots", "spectral", True),
        ("snapshots", "pencil", False),
    ],
)
def test_models_and_methods(model, method, is_complex, tmp_path, capsys):
    if model == "repeated":
        arrays = simulate(is_complex=is_complex)
    else:
        arrays = simulate_own(model, is_complex=is_complex)
    found = calibrate(tmp_path, arrays, "--model", model, "--method", method)
    assert_within(found, arrays)
    assert found["identified"]
    assert found["signals"].shape == arrays["x"].shape
    assert found["num_unknowns"] == arrays["x"].size + M - 1
    assert found["noise_std"] == pytest.approx(NOISE * (1 + is_complex) ** 0.5, rel=0.5)
    printed = capsys.readouterr().out
    assert "NOT" not in printed
    assert f"| model | {model} |" in printed
    assert f"| shots | {P} |\n| matrices | {len(arrays['A'])} |" in printed


@pytest.mark.parametrize(
    "options",
    [
        "--method linear",
        "--method linear --constraint gains",
        "--method linear --constraint signals",
        "--method linear --constraint both",
        "--method spectral",
        "--method pencil",
    ],
)
def test_linear_methods_are_exact_without_noise_and_refinement(options, tmp_path, capsys):
    arrays = simulate_own("diverse", noise=0)
    options = [*options.split(), "--model", "diverse", "--no-refine"]
    found = calibrate(tmp_path, arrays, *options)
    np.testing.assert_allclose(found["gains"], arrays["gains"], atol=1e-7)
    np.testing.assert_allclose(found["signals"], arrays["x"], atol=1e-7)
    assert found["relative_residual"] < 1e-7
    printed = capsys.readouterr().out
    assert f"The estimate of --method {options[1]} is not refined." in printed
    assert "NOT" not in printed


def test_first_gain_fixes_the_scale_of_gains_of_any_phase(tmp_path):
    arrays = simulate(is_complex=True, noise=0)
    options = ["--method", "linear", "--constraint", "first gain", "--no-refine"]
    found = calibrate(tmp_path, arrays, *options)
    phase = arrays["gains"][0] / abs(arrays["gains"][0])
    np.testing.assert_allclose(found["gains"], arrays["gains"] / phase, atol=1e-7)


def test_refinement_lowers_the_residual_and_counts_its_steps(tmp_path):
    arrays = simulate(noise=0.1)
    linear = calibrate(tmp_path, arrays, "--method", "linear", "--no-refine")
    refined = calibrate(tmp_path, arrays, "--method", "linear")
    assert linear["num_steps"] == 1
    assert refined["num_steps"] > 1
    assert refined["relative_residual"] < 0.99 * linear["relative_residual"]
    expected = calibrate(tmp_path, arrays)
    np.testing.assert_allclose(refined["gains"], expected["gains"], rtol=1e-2)


def test_one_matrix_is_given_in_three_ways(tmp_path):
    arrays = simulate_own("snapshots")
    expected = calibrate(tmp_path, arrays, "--model", "snapshots")
    two = arrays | {"A": arrays["A"][0], "num_signals": P}
    for given, options in ((two, ["--model", "snapshots"]), (arrays, [])):
        found = calibrate(tmp_path, given, *options)
        for name in ("gains", "signals", "gains_std"):
            np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("model", ["diverse", "snapshots"])
def test_seed_in_place_of_the_matrices_of_own_signals(model, tmp_path):
    arrays = simulate_own(model)
    key = jax.random.fold_in(jax.random.key(3), zlib.crc32(b"seeded gaussian ensemble"))
    keys = [jax.random.fold_in(key, i) for i in range(len(arrays["A"]))]
    draws = np.stack([np.asarray(jax.random.normal(k, (M, OWN_N), "float32")) for k in keys])
    seen = np.einsum("lij,lj->li", np.broadcast_to(draws, (P, M, OWN_N)), arrays["x"])
    arrays["y"] = arrays["gains"] * seen
    given = {"y": arrays["y"], "seed": 3, "signal_size": OWN_N}
    found = calibrate(tmp_path, given, "--model", model, "--method", "linear", "--no-refine")
    np.testing.assert_allclose(found["gains"], arrays["gains"], atol=1e-5)
    np.testing.assert_allclose(found["signals"], arrays["x"], atol=1e-4)


def test_flags_and_dead_sensors_of_own_signals(tmp_path):
    arrays = simulate_own("snapshots")
    y, weights, matrix = arrays["y"].copy(), np.ones((P, M)), arrays["A"].copy()
    y[1, 2], weights[3, 5], y[3, 5] = np.nan, 0, 1e6
    y[:, 7], matrix[:, 9] = np.inf, 0
    given = arrays | {"y": y, "weights": weights, "A": matrix}
    found = calibrate(tmp_path, given, "--model", "snapshots", "--method", "pencil")
    assert_within(found, arrays)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found["gains"])), [7, 9])
    assert found["num_measurements"] == P * (M - 2) - 2


@pytest.mark.parametrize("method", ["linear", "spectral"])
def test_linear_methods_with_offsets(method, tmp_path):
    arrays = simulate(is_complex=True)
    offsets = np.random.default_rng(1).standard_normal(M) + 1j
    found = calibrate(
        tmp_path, arrays | {"y": arrays["y"] + offsets}, "--offset", "--method", method
    )
    assert_within(found, arrays)
    np.testing.assert_allclose(found["offsets"], offsets, atol=10 * NOISE)


@pytest.mark.parametrize("method", ["alternating", "pencil"])
def test_says_before_the_solve_what_is_hopeless(method, tmp_path, capsys):
    arrays = simulate_own("snapshots", noise=0)
    matrix = arrays["A"][0]
    matrix[: M // 2, OWN_N // 2 :] = matrix[M // 2 :, : OWN_N // 2] = 0  # two arrays in one
    y = arrays["gains"] * (arrays["x"] @ matrix.T)
    options = ["--model", "snapshots", "--method", method]
    found = calibrate(tmp_path, arrays | {"y": y, "A": matrix}, *options)
    before, _, after = capsys.readouterr().out.partition("| | |")
    assert before.startswith("NOT IDENTIFIABLE, seen before the solve: the graph ")
    assert "in common has 2 parts" in before
    assert "NOT IDENTIFIED: gains and signals can change together" in after
    assert not found["identified"]


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


OWN = simulate_own("snapshots")
BAD_MODELS = [
    (
        "diverse",
        "alternating",
        {"y": GOOD["y"][:5]},
        r"A has shape \(6, 12, 6\) .* a matrix for each",
    ),
    (
        "diverse",
        "alternating",
        {"num_signals": 2},
        "num_signals is 2, .* each of the 6 shots has a",
    ),
    (
        "diverse",
        "alternating",
        {"A": GOOD["A"][0]},
        r"A has shape \(12, 6\) .* a matrix for each shot",
    ),
    ("diverse", "linear", {"y": GOOD["y"][:, :6], "A": GOOD["A"][:, :6]}, "n = 6 .* m = 6 sensors"),
    ("diverse", "pencil", {"y": GOOD["y"][:, :5], "A": GOOD["A"][:, :5]}, "n = 6 .* m = 5 sensors"),
    (
        "diverse",
        "alternating",
        {"y": GOOD["y"][:1], "A": GOOD["A"][:1]},
        "12 measurements .* 17 unk",
    ),
    (
        "snapshots",
        "alternating",
        {},
        r"A has shape \(6, 12, 6\) .* one matrix, and as many sensors",
    ),
    ("snapshots", "spectral", {"A": OWN["A"][0].T}, r"A has shape \(1, 4, 12\) .* one matrix"),
    ("snapshots", "spectral", {"A": OWN["A"][0, 0]}, r"A has shape \(4,\) .* one matrix"),
    (
        "snapshots",
        "linear",
        {"A": None, "seed": 1, "signal_size": 12},
        "n = 12 entries, with m = 12",
    ),
    ("repeated", "linear", {"A": GOOD["A"][0]}, "one matrix .m, n. needs --model snapshots"),
    ("repeated", "spectral", {"y": GOOD["y"][:1], "A": GOOD["A"][:1]}, "12 measurements .* 17 unk"),
]


@pytest.mark.parametrize(("model", "method", "change", "sentence"), BAD_MODELS)
def test_bad_arrays_of_a_model_are_named(model, method, change, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = {name: GOOD[name] for name in ("y", "A")} | change
    np.savez("data.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(SystemExit, match="^error: .*" + sentence):
        calibrate_array.main(["data.npz", "--model", model, "--method", method])
    assert [x.name for x in tmp_path.iterdir()] == ["data.npz"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--spread 1", "gain_spread must be above 0 and below 1, got 1"),
        ("--spread 0", "gain_spread must be above 0 and below 1, got 0"),
        ("--spread 0.5 --method alternating", "--spread and --sparsity need --method descent"),
        ("--sparsity 2 --method linear", "--spread and --sparsity need --method descent"),
        ("--constraint gains", "--constraint needs --method linear"),
        ("--constraint gains --method pencil", "--constraint needs --method linear"),
        ("--no-refine", "--no-refine needs --method linear, spectral, pencil"),
        ("--offset --method pencil", "offsets, which the Schur pencil does not know: use Linear"),
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

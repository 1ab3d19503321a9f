import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, N1, N2, OPERATORS, M, normal

from recovery import Factors, Problem, operators
from recovery.losses import ABSOLUTE
from recovery.operators.spectral_norm import first_probe, spectral_norm


@pytest.fixture(
    params=[row[1] for row in OPERATORS], ids=[row[0] for row in OPERATORS], scope="module"
)
def operator(request):
    return request.param()


def rounding(operator) -> float:
    return 500 * float(jnp.finfo(operator.in_struct.dtype).eps)


def matrix_for(operator, tag=0):
    return normal(100 + tag, operator.in_struct.shape, operator.in_struct.dtype)


def factors_for(operator):
    (n1, n2), dtype = operator.in_struct.shape, operator.in_struct.dtype
    return Factors(normal(200, (n1, 2), dtype), normal(201, (n2, 2), dtype))


def measurements_for(operator, tag=0):
    return normal(300 + tag, operator.out_struct.shape, operator.out_struct.dtype)


def assert_close(a, b, operator):
    scale = max(float(jnp.max(jnp.abs(b))), 1.0)
    np.testing.assert_allclose(a / scale, b / scale, atol=rounding(operator))


def test_adjoint_passes_the_dot_test(operator):
    assert operators.dot_test(operator, KEY) < rounding(operator)


def test_forward_is_linear(operator):
    x, z = matrix_for(operator), matrix_for(operator, 1)
    c = jnp.asarray(0.7, operator.in_struct.dtype)
    assert_close(
        operator.forward(x + c * z), operator.forward(x) + c * operator.forward(z), operator
    )


def test_results_have_the_promised_shapes_and_dtypes(operator):
    y, x = operator.forward(matrix_for(operator)), operator.adjoint(measurements_for(operator))
    assert (y.shape, y.dtype) == (operator.out_struct.shape, operator.out_struct.dtype)
    assert (x.shape, x.dtype) == (operator.in_struct.shape, operator.in_struct.dtype)
    assert operator.num_measurements == y.size


def test_factored_products_agree_with_dense_ones(operator):
    f, y = factors_for(operator), measurements_for(operator)
    assert_close(operator.forward_factors(f), operator.forward(f.left @ f.right.T), operator)
    back = operator.adjoint(y)
    left, right = operator.adjoint_factors(y, f)
    assert_close(left, back @ f.right.conj(), operator)
    assert_close(right, back.T @ f.left.conj(), operator)


def test_back_projection_is_the_adjoint_over_the_isometry_factor(operator):
    f, y = factors_for(operator), measurements_for(operator)
    back = operator.back_project(y)
    # The dual of normal equations is the back projection already.
    matrix = (
        y
        if isinstance(operator, operators.NormalSensing)
        else operator.adjoint(y) / operator.isometry_factor
    )
    left, right = back.project(f)
    assert_close(left, matrix @ f.right.conj(), operator)
    assert_close(right, matrix.T @ f.left.conj(), operator)
    assert_close(back.times(f.right), matrix @ f.right, operator)
    assert_close(back.adjoint_times(f.left), matrix.conj().T @ f.left, operator)


def test_repeated_estimates_of_the_spectral_norm_find_the_largest_singular_value(operator):
    back = operator.back_project(measurements_for(operator))
    exact = jnp.linalg.norm(
        back.times(jnp.eye(back_width(operator), dtype=operator.in_struct.dtype)), 2
    )
    estimate = jax.jit(spectral_norm)(back, first_probe(operator.in_struct))
    for _ in range(40):
        estimate = jax.jit(spectral_norm)(back, estimate.probe)
        assert estimate.value <= exact * (1 + rounding(operator))
    np.testing.assert_allclose(estimate.value, exact, rtol=1e-2)


def back_width(operator) -> int:
    return operator.in_struct.shape[1]


def test_gradient_agrees_with_automatic_differentiation(operator):
    f, y = factors_for(operator), measurements_for(operator)

    def loss(f):
        residual = operator.forward(f.left @ f.right.T) - y
        if isinstance(operator, operators.NormalSensing):
            # The loss whose normal equations it holds, up to a constant.
            x = f.left @ f.right.T
            return 0.5 * jnp.vdot(x, operator.forward(x)).real - jnp.vdot(x, y).real
        return jnp.vdot(residual, residual).real / (2 * operator.isometry_factor)

    back, residual = operator.gradient(f, y)
    left, right = back.project(f)
    expected = jax.grad(loss)(f)  # jax.grad of a real function is the conjugate gradient
    assert_close(left, expected.left.conj(), operator)
    assert_close(right, expected.right.conj(), operator)
    assert_close(residual, operator.forward_factors(f) - y, operator)


def test_vmap_over_matrices_agrees_with_a_loop(operator):
    xs = jnp.stack([matrix_for(operator, i) for i in range(3)])
    ys = jnp.stack([measurements_for(operator, i) for i in range(3)])
    assert_close(
        jax.vmap(operator.forward)(xs), jnp.stack([operator.forward(x) for x in xs]), operator
    )
    assert_close(
        jax.vmap(operator.adjoint)(ys), jnp.stack([operator.adjoint(y) for y in ys]), operator
    )


def test_operator_is_an_argument_of_jit(operator):
    compiled = jax.jit(lambda operator, x: operator.forward(x))
    assert_close(
        compiled(operator, matrix_for(operator)), operator.forward(matrix_for(operator)), operator
    )


def test_dot_test_notices_a_missing_conjugate():
    class Wrong(operators.AbstractOperator):
        matrices: jax.Array

        in_struct = property(lambda self: jax.ShapeDtypeStruct((N1, N2), self.matrices.dtype))
        out_struct = property(lambda self: jax.ShapeDtypeStruct((M,), self.matrices.dtype))

        def forward(self, x):
            return jnp.tensordot(self.matrices, x, 2)

        def adjoint(self, y):
            return jnp.tensordot(y, self.matrices, 1)

    assert operators.dot_test(Wrong(normal(1, (M, N1, N2), jnp.complex128)), KEY) > 1e-2
    assert operators.dot_test(Wrong(normal(1, (M, N1, N2))), KEY) < 1e-12


def test_dense_sensing_is_the_trace_inner_product_without_conjugate():
    matrices, x = normal(1, (M, N1, N2), jnp.complex128), normal(2, (N1, N2), jnp.complex128)
    expected = np.array([np.sum(np.asarray(a) * np.asarray(x)) for a in matrices])
    np.testing.assert_allclose(operators.DenseSensing(matrices).forward(x), expected, rtol=1e-13)


def test_a_family_with_factored_products_never_forms_the_matrix():
    # 100,000 x 100,000 entries would be 80 GB; only compiled.
    struct = jax.ShapeDtypeStruct((50, 100_000), jnp.float64)
    operator = jax.eval_shape(operators.RankOneSensing, struct, struct)
    factor = jax.ShapeDtypeStruct((100_000, 2), jnp.float64)
    y = jax.ShapeDtypeStruct((50,), jnp.float64)

    def gradient(operator, left, right, y):
        return operator.gradient(Factors(left, right), y)[0].project(Factors(left, right))

    compiled = jax.jit(gradient).lower(operator, factor, factor, y).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 100 * 8 * 100_000


def test_packed_measurements_are_those_of_the_symmetrized_matrices():
    matrices = normal(1, (M, N1, N1))
    packed = operators.PackedSymmetricSensing.from_matrices(matrices)
    dense = operators.DenseSensing((matrices + matrices.transpose(0, 2, 1)) / 2)
    x, y = normal(2, (N1, N1)), normal(3, (M,))
    assert packed.packed.shape == (M, N1 * (N1 + 1) // 2)
    np.testing.assert_allclose(packed.forward(x), dense.forward(x), rtol=1e-12)
    np.testing.assert_allclose(packed.adjoint(y), dense.adjoint(y), rtol=1e-12, atol=1e-12)
    symmetric = x + x.T
    np.testing.assert_allclose(
        packed.forward(symmetric), operators.DenseSensing(matrices).forward(symmetric), rtol=1e-12
    )


def test_rank_one_measurements_are_bilinear_forms():
    operator = operators.RankOneSensing(normal(1, (M, N1)), normal(2, (M, N2)))
    x = normal(3, (N1, N2))
    expected = [left @ x @ right for left, right in zip(operator.left, operator.right, strict=True)]
    np.testing.assert_allclose(operator.forward(x), jnp.stack(expected), rtol=1e-12)


@pytest.mark.parametrize("block_rows", [1, 5, M, 100])
def test_seeded_matrices_do_not_depend_on_the_block(block_rows):
    build = operators.SeededGaussianSensing
    one, other = build(KEY, M, (N1, N2)), build(KEY, M, (N1, N2), block_rows=block_rows)
    x, y = normal(3, (N1, N2)), normal(4, (M,))
    dense = operators.DenseSensing(one.rows(jnp.arange(M)).reshape(M, N1, N2))
    assert jnp.array_equal(one.rows(jnp.arange(M)), other.rows(jnp.arange(M)))
    for operator in (one, other):
        np.testing.assert_allclose(operator.forward(x), dense.forward(x), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(operator.adjoint(y), dense.adjoint(y), rtol=1e-12, atol=1e-12)


def test_seeded_matrices_are_the_same_in_both_precisions():
    single, double = (
        operators.SeededGaussianSensing(KEY, M, (N1, N2), dtype=dtype).rows(jnp.arange(M))
        for dtype in (jnp.float32, jnp.float64)
    )
    assert jnp.array_equal(single.astype(jnp.float64), double)


def test_seeded_entries_are_standard_gaussian():
    entries = operators.SeededGaussianSensing(KEY, 400, (20, 20)).rows(jnp.arange(400)).reshape(-1)
    count = entries.size
    # Five standard deviations of the sample moments.
    assert abs(float(jnp.mean(entries))) < 5 / count**0.5
    assert abs(float(jnp.mean(entries**2)) - 1) < 5 * (2 / count) ** 0.5
    assert abs(float(jnp.mean(entries**4)) - 3) < 5 * (96 / count) ** 0.5


def temporary_bytes(operator) -> int:
    """Memory that a compiled gradient needs besides its arguments and results."""
    f, y = (jax.eval_shape(build, operator) for build in (factors_for, measurements_for))

    def gradient(operator, f, y):
        back, residual = operator.gradient(f, y)
        return back.project(f), residual

    compiled = jax.jit(gradient).lower(operator, f, y).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_gradient_of_a_seeded_operator_needs_one_block_of_memory():
    # A stack of 40 GB; only compiled.
    operator = operators.SeededGaussianSensing(KEY, 2_000_000, (50, 50))
    one_block = 8 * operator.block_rows * 2500
    assert temporary_bytes(operator) < 3 * one_block + 3 * 8 * 2_000_000


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.complex128])
def test_gradient_of_a_dense_operator_never_copies_the_stack(dtype):
    matrices = jax.ShapeDtypeStruct((1000, 40, 40), dtype)
    operator = jax.eval_shape(operators.DenseSensing, matrices)
    assert temporary_bytes(operator) < 0.1 * 1000 * 1600 * jnp.dtype(dtype).itemsize


def test_gaussian_operators_are_isometries_on_average():
    operator = operators.SeededGaussianSensing(KEY, 20_000, (4, 4))
    normal_matrix = operators.NormalSensing.from_operator(operator).normal
    assert float(jnp.max(jnp.abs(normal_matrix - jnp.eye(16)))) < 0.06  # 6 standard deviations


def test_population_operator_is_an_exact_isometry():
    operator = operators.PopulationSensing((6, 6))
    x = normal(1, (6, 6))
    image = operator.adjoint(operator.forward(x)) / operator.num_measurements
    np.testing.assert_allclose(image, x, rtol=1e-15)


def test_normal_equations_have_the_gradient_of_the_original_loss():
    operator = operators.DenseSensing(normal(1, (M, N1, N2)))
    f, y = factors_for(operator), measurements_for(operator)
    reduced = Problem(operator, y).normal_equations()
    expected = operator.gradient(f, y)[0].matrix
    found = reduced.operator.gradient(f, reduced.measurements)[0].matrix
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["dense", "seeded", "rank_one", "stacked", "weighted", "entries"])
def test_gradient_of_another_loss_uses_its_derivative(name):
    operator = dict(OPERATORS)[f"{name}-float64"]()
    f, y = factors_for(operator), measurements_for(operator)
    back, residual = operator.gradient(f, y, ABSOLUTE)
    dual = jnp.sign(operator.forward(f.matrix) - y)
    expected = operator.adjoint(dual) / operator.isometry_factor
    left, right = back.project(f)
    np.testing.assert_allclose(left, expected @ f.right, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(right, expected.T @ f.left, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(residual, operator.forward(f.matrix) - y, rtol=1e-11)


def test_weights_multiply_measurements():
    operator, weights = operators.DenseSensing(normal(1, (M, N1, N2))), normal(2, (M,))
    x = normal(3, (N1, N2))
    np.testing.assert_allclose((operator * weights).forward(x), weights * operator.forward(x))
    np.testing.assert_allclose((2 * operator).forward(x), 2 * operator.forward(x))


def test_numpy_weights_may_stand_on_the_left():
    operator, weights = operators.DenseSensing(normal(1, (M, N1, N2))), np.arange(1.0, M + 1)
    x = normal(3, (N1, N2))
    np.testing.assert_allclose((weights * operator).forward(x), weights * operator.forward(x))


def test_stacking_puts_measurements_one_after_the_other():
    a, b = operators.DenseSensing(normal(1, (M, N1, N2))), operators.PopulationSensing((N1, N2))
    x = normal(3, (N1, N2))
    expected = jnp.concatenate([a.forward(x), b.forward(x).reshape(-1)])
    np.testing.assert_allclose((a + b).forward(x), expected)

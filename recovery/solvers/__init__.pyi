from recovery.row_solvers import AbstractRowSolver as AbstractRowSolver
from recovery.row_solvers import Cholesky as Cholesky
from recovery.row_solvers import ConjugateGradient as ConjugateGradient
from recovery.row_solvers import SketchedLeastSquares as SketchedLeastSquares
from recovery.solvers.alternating_calibration import (
    AlternatingCalibration as AlternatingCalibration,
)
from recovery.solvers.alternating_gauss_newton import (
    AlternatingGaussNewton as AlternatingGaussNewton,
)
from recovery.solvers.alternating_minimization import (
    AlternatingMinimization as AlternatingMinimization,
)
from recovery.solvers.base import AbstractDescent as AbstractDescent
from recovery.solvers.base import AbstractSolver as AbstractSolver
from recovery.solvers.base import DescentState as DescentState
from recovery.solvers.blind_gain import BlindGainDescent as BlindGainDescent
from recovery.solvers.gauss_newton import GaussNewtonCompletion as GaussNewtonCompletion
from recovery.solvers.gradient_descent import (
    AsymmetricGradientDescent as AsymmetricGradientDescent,
)
from recovery.solvers.gradient_descent import SymmetricGradientDescent as SymmetricGradientDescent
from recovery.solvers.linear_least_squares import LinearLeastSquares as LinearLeastSquares
from recovery.solvers.modified_step import ModifiedStep as ModifiedStep
from recovery.solvers.modified_step import rescale_columns as rescale_columns
from recovery.solvers.preconditioned import (
    AsymmetricPreconditionedDescent as AsymmetricPreconditionedDescent,
)
from recovery.solvers.preconditioned import ScaledGradientDescent as ScaledGradientDescent
from recovery.solvers.preconditioned import (
    SymmetricPreconditionedDescent as SymmetricPreconditionedDescent,
)
from recovery.solvers.preconditioned_subgradient import (
    AsymmetricPreconditionedSubgradientMethod as AsymmetricPreconditionedSubgradientMethod,
)
from recovery.solvers.preconditioned_subgradient import (
    PreconditionedSubgradientMethod as PreconditionedSubgradientMethod,
)
from recovery.solvers.schur_pencil import SchurPencil as SchurPencil
from recovery.solvers.smallest_singular_vector import (
    SmallestSingularVector as SmallestSingularVector,
)
from recovery.solvers.subgradient import AsymmetricSubgradientMethod as AsymmetricSubgradientMethod
from recovery.solvers.subgradient import SubgradientMethod as SubgradientMethod
from recovery.solvers.two_phase import TwoPhase as TwoPhase

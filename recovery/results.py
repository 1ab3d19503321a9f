"""How a solve can end."""

import equinox as eqx


class RESULTS(eqx.Enumeration):
    """Why a solve stopped; `RESULTS[solution.result]` is the sentence."""

    running = "Steps are left."
    converged = "The solver met its tolerance."
    max_steps_reached = "All max_steps were taken; continue from Solution.state for more."
    asymmetric_start = (
        "The start is not symmetric, but the solver is: use Factors.symmetric(start.left), or an "
        "asymmetric solver."
    )
    nonfinite = (
        "The iterate became NaN or infinite. Lower the step size (or raise the damping), start "
        "closer to zero, or scale the measurements; at step 0 the start or the operator holds NaN."
    )

"""How a solve can end."""

import equinox as eqx


class RESULTS(eqx.Enumeration):
    """Why a solve stopped; `RESULTS[solution.result]` is the sentence."""

    running = "Steps are left."
    converged = "The relative residual fell below the tolerance."
    max_steps_reached = "All max_steps were taken; continue from Solution.state for more."
    nonfinite = (
        "The iterate became NaN or infinite. Lower the step size (or raise the damping), start "
        "closer to zero, or scale the measurements; the trace shows the steps before."
    )

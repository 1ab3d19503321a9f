from recovery.problems.calibration import blind_gain as blind_gain
from recovery.problems.calibration import random_gains as random_gains
from recovery.problems.completion import matrix_completion as matrix_completion
from recovery.problems.self_calibration import self_calibration as self_calibration
from recovery.problems.sensing import matrix_sensing as matrix_sensing
from recovery.problems.sensing import measure as measure
from recovery.problems.sensing import random_truth as random_truth

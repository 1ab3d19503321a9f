from recovery.problems.completion import matrix_completion as matrix_completion
from recovery.problems.sensing import matrix_sensing as matrix_sensing
from recovery.problems.sensing import measure as measure
from recovery.problems.sensing import random_truth as random_truth

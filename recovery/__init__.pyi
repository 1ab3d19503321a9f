from recovery import calibration as calibration
from recovery import checkpoint as checkpoint
from recovery import distributed as distributed
from recovery import metrics as metrics
from recovery import operators as operators
from recovery import prediction as prediction
from recovery import problems as problems
from recovery import program_cache as program_cache
from recovery import schedules as schedules
from recovery import solvers as solvers
from recovery import starts as starts
from recovery import sweeps as sweeps
from recovery import theory as theory
from recovery.diagnosis import Identifiability as Identifiability
from recovery.diagnosis import identifiability as identifiability
from recovery.factors import Factors as Factors
from recovery.problem import Problem as Problem
from recovery.results import RESULTS as RESULTS
from recovery.solve import Solution as Solution
from recovery.solve import SolveError as SolveError
from recovery.solve import solve as solve

__version__: str

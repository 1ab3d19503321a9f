"""Parameter sweeps that lose no finished cell, on a laptop or a cluster."""

from recovery.sweeps.collected import Collected as Collected
from recovery.sweeps.collected import collect as collect
from recovery.sweeps.errors import StoreError as StoreError
from recovery.sweeps.errors import StudyError as StudyError
from recovery.sweeps.run import Tally as Tally
from recovery.sweeps.run import run as run
from recovery.sweeps.study import Study as Study
from recovery.sweeps.study_file import read_study as read_study

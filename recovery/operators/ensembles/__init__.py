"""The known matrices `A_l` of a calibration problem."""

from recovery.operators.ensembles.base import AbstractEnsemble as AbstractEnsemble
from recovery.operators.ensembles.base import SensorSubset as SensorSubset
from recovery.operators.ensembles.dense import DenseEnsemble as DenseEnsemble
from recovery.operators.ensembles.masked import MaskedFourier as MaskedFourier
from recovery.operators.ensembles.masked import MaskedHadamard as MaskedHadamard
from recovery.operators.ensembles.seeded import SeededGaussianEnsemble as SeededGaussianEnsemble

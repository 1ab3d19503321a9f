"""Figures for "Global Convergence of Sub-gradient Method for Robust Matrix Recovery".

Ma, Fattahi (JMLR 24, 2023, paper 96): small initialization, noisy measurements,
over-parameterization. Claims are the paper's; settings that it does not state were inferred from
its figures or chosen by us, and each caption says which.

    python paper_repro/subgradient_method.py [--full] [--only FIGURE] [--out DIR]
"""

import sys

from experiments.runner import main

if __name__ == "__main__":
    sys.exit(main("subgradient_method"))

"""Figures for "How Over-Parameterization Slows Down Gradient Descent in Matrix Sensing".

Xiong, Ding, Du (ICLR 2024, arXiv 2310.01769). The claims are the paper's, the settings ours: the
paper's own settings could not be consulted.

    python paper_repro/overparameterized_gd.py [--full] [--only FIGURE] [--out DIR]
"""

import sys

from experiments.runner import main

if __name__ == "__main__":
    sys.exit(main("overparameterized_gd"))

"""Figures for "Self-Calibration and Bilinear Inverse Problems via Linear Least Squares".

Ling, Strohmer (SIAM Journal on Imaging Sciences, 2018, arXiv 1611.04196). Only the abstract was
available: claims and settings are the abstract's, recalled, or ours, and each caption says which.

    python paper_repro/self_calibration.py [--full] [--only FIGURE] [--out DIR]
"""

import sys

from experiments.runner import main

if __name__ == "__main__":
    sys.exit(main("self_calibration"))

"""Figures for "Through the Haze: a Non-Convex Approach to Blind Gain Calibration for Linear Random
Sensing Models".

Cambareri, Jacques (Information and Inference, 2019, arXiv 1610.09028), and the sparse version of
Cambareri, Moshtaghpour, Jacques (arXiv 1610.02851). Only abstracts were available: the claims are
theirs or derived, the settings ours, in the style of the papers, and each caption says which.

    python paper_repro/blind_gain_calibration.py [--full] [--only FIGURE] [--out DIR]
"""

import sys

from experiments.runner import main

if __name__ == "__main__":
    sys.exit(main("blind_gain_calibration"))

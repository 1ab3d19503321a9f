"""Figures for "Low Rank Matrix Completion via Robust Alternating Minimization in Nearly Linear
Time".

Gu, Song, Yin, Zhang (ICLR 2024). The paper reports no experiments and its text was not available:
the figures test predictions of its abstract and of the theory around it in settings of our own, and
each caption says what is whose.

    python paper_repro/robust_alternating_minimization.py [--full] [--only FIGURE] [--out DIR]
"""

import sys

from experiments.runner import main

if __name__ == "__main__":
    sys.exit(main("robust_alternating_minimization"))

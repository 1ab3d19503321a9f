"""`python -m recovery.sweeps`: run a study, look at it, collect and draw its results."""

import sys

from recovery.sweeps.command_line import main

sys.exit(main())

"""How far the decision falls short of the best way: the grid, its lines, and the tables."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the other scripts, and what they share, are no package

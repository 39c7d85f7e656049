"""What these tests share with those of the runner and of the algorithms: the tiny run, the small configurations."""

import sys
from pathlib import Path

for folder in ("faults", "runner", "algorithms"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))

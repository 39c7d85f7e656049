"""Draws docs/images/plan.svg: the first lines of `mbrl bench --plan --budget 1h` for an empty results folder.

Usage, from the root of the repository: python docs/plan.py
"""

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

LINES, TAIL, WIDTH = 22, 3, 132


def main() -> None:
    """Asks the command, and writes what a terminal would show."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["bench", "--plan", "--budget", "1h", "--results", folder]
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from mbrl_jax.cli import main; main(sys.argv[1:])", *words],
            capture_output=True,
            text=True,
            check=True,
        )
    lines = done.stdout.rstrip().splitlines()
    shown = ["$ mbrl bench --plan --budget 1h", *lines[:LINES], "…", *lines[-TAIL:]]
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    for line in shown:
        console.print(Text(line[:WIDTH]), no_wrap=True)
    picture = console.export_svg(title="mbrl bench --plan")
    # The font is asked for from another site: a page fetches nothing from elsewhere.
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    (Path(__file__).parent / "images" / "plan.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()

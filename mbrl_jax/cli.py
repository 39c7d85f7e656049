"""The command line `mbrl`: finds the command and imports only what that command needs."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "bench": "run artefacts (the papers' tables and figures), then write the report",
    "report": "write the report on the results that exist; runs nothing",
    "compare": "two results folders side by side: what changed in the claims, and the learning curves",
    "train": "train one algorithm on one environment, many seeds in one program",
    "sweep": "plan, run or follow a sweep over algorithms, environments and hyper-parameters",
    "plan": "compile a run for a device that may not be here: its memory, and what a step launches",
    "list": "algorithms, environments, presets and artefacts by name",
    "doctor": "what this machine offers, and a self-test of a few seconds",
}
_MODULES = {"report": "bench", "list": "listing"}
USAGE_ERROR = 2
SIGPIPE = 128 + 13


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command; exits with 0, with 1 or 2 on an error, or with 128 + the number of a signal.

    Args:
      argv: the words after `mbrl`; those of the process if None.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows ASCII alone still gets everything
    at_once = False
    try:
        try:
            code = _command(list(sys.argv[1:] if argv is None else argv))
        except SystemExit as stopped:  # after --help, or on a signal
            code, at_once = stopped.code, getattr(stopped, "at_once", False)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has read enough, as in `mbrl list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that nothing is written there at the end
        code = SIGPIPE
    if at_once and isinstance(code, int):
        os._exit(code)  # Python's own end waits for the program that is running
    sys.exit(code)


def _command(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if words else USAGE_ERROR
    if words[0] in ("-V", "--version"):
        from mbrl_jax import __version__

        print(f"mbrl_jax {__version__}")
        return 0
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # algorithms and environments of one's own, as in `mbrl train mylab.steve`
    return _guarded(words[0], words[1:])


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {about}" for name, about in COMMANDS.items()]
    return "\n".join(["usage: mbrl COMMAND [OPTIONS]", "", *lines, "", "mbrl COMMAND --help explains its options."])


def _guarded(command: str, words: list[str]) -> int:
    """Runs a command; what a person can put right is said in one line, everything else keeps its traceback."""
    try:
        if command not in COMMANDS:
            from mbrl_jax.checks import nearest

            raise ValueError(nearest(command, COMMANDS, "command"))
        module = importlib.import_module(f"mbrl_jax.commands.{_MODULES.get(command, command)}")
        return getattr(module, command if command != "list" else "listing")(words)
    except BrokenPipeError:
        raise
    except Exception as error:
        from mbrl_jax.results import ResultsError  # here, because it takes a second to import

        if os.environ.get("MBRL_TRACEBACK") or not isinstance(error, (ValueError, OSError, MemoryError, ResultsError)):
            raise
        print(f"mbrl {command}: {error}", file=sys.stderr)
        print("(MBRL_TRACEBACK=1 shows where it was raised)", file=sys.stderr)
        return USAGE_ERROR if isinstance(error, ValueError) else 1

"""The report: statistics over seeds, judged claims, figures and tables on one HTML page. It reads results only."""

from mbrl_jax.report.artefact import Animation, Artefact, Block, Figure, Table, Text
from mbrl_jax.report.build import build
from mbrl_jax.report.claims import Claim, Judgement, Rivals, Samples, Verdict, judge
from mbrl_jax.report.select import MissingDataError
from mbrl_jax.report.statistics import Interval

__all__ = [
    "Animation",
    "Artefact",
    "Block",
    "Claim",
    "Figure",
    "Interval",
    "Judgement",
    "MissingDataError",
    "Rivals",
    "Samples",
    "Table",
    "Text",
    "Verdict",
    "build",
    "judge",
]

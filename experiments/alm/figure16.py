"""Figure 16 of ALM: a linear classifier."""

from __future__ import annotations

from experiments.alm import ablation
from experiments.alm.ablation import Ablation, claim, no_worse
from experiments.alm.common import ALM, Variant

NAME = "alm/figure16"
LABEL = "linear classifier"

ABLATION = Ablation(
    name=NAME,
    title="A linear classifier",
    figure="Figure 16",
    variants={LABEL: Variant(changes={"agent.classifier_hidden": ()})},
    panels={"Classifier": (ALM, LABEL)},
    tasks=("ant_truncated-v2", "walker2d-v4"),
    claims=(
        claim(
            "ALM works well even with a linear classifier: its return is at most a tenth lower",
            "Appendix E and Figure 16",
            no_worse(NAME, LABEL, ALM),
        ),
    ),
)
ARTEFACT = ablation.artefact(ABLATION)

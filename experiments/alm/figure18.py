"""Figures 18 and 19 of ALM: encoder, or encoder and model, trained to predict values as well."""

from __future__ import annotations

from experiments.alm import ablation
from experiments.alm.ablation import Ablation, claim, no_worse
from experiments.alm.common import ALM, Variant

NAME = "alm/figure18"
ENCODER, BOTH = "encoder predicts values", "encoder and model predict values"

ABLATION = Ablation(
    name=NAME,
    title="Predicting values as well",
    figure="Figures 18 and 19",
    variants={ENCODER: Variant("value prediction, encoder"), BOTH: Variant("value prediction")},
    panels={"Value prediction": (ALM, ENCODER, BOTH)},
    tasks=("half_cheetah-v4", "walker2d-v4"),
    claims=(
        claim(
            "ALM needs no value prediction for its encoder: without it at most a tenth lower",
            "Appendix C and Figure 18",
            no_worse(NAME, ALM, ENCODER),
        ),
        claim(
            "ALM needs no value prediction for encoder and model: without it at most a tenth lower",
            "Appendix C and Figure 19",
            no_worse(NAME, ALM, BOTH),
        ),
    ),
    note="The paper prints no statement beside these figures; the claims are how we read Appendix C.",
)
ARTEFACT = ablation.artefact(ABLATION)

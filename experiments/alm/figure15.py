"""Figure 15 of ALM: representations and model by maximum likelihood instead of the aligned objective."""

from __future__ import annotations

from experiments.alm import ablation
from experiments.alm.ablation import Ablation, better, claim
from experiments.alm.common import ALM, Variant

NAME = "alm/figure15"
LABEL = "maximum likelihood"

ABLATION = Ablation(
    name=NAME,
    title="Representations by maximum likelihood",
    figure="Figure 15",
    variants={LABEL: Variant("likelihood")},
    panels={"Objective of encoder and model": (ALM, LABEL)},
    tasks=("ant_truncated-v2", "walker2d-v4"),
    claims=(
        claim(
            "The aligned objective performs better than reconstructing observations",
            "Appendix E and Figure 15",
            better(NAME, ALM, LABEL),
        ),
    ),
    note="The paper does not give the reconstruction loss; here it is a decoder of unit variance at every step.",
)
ARTEFACT = ablation.artefact(ABLATION)

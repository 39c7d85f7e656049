"""Figure 13 of ALM: without a learned encoder it resembles MnM."""

from __future__ import annotations

from experiments.alm import ablation
from experiments.alm.ablation import Ablation, better, claim
from experiments.alm.common import ALM, Variant

NAME = "alm/figure13"
LABEL = "identity encoder"

ABLATION = Ablation(
    name=NAME,
    title="The identity as encoder",
    figure="Figure 13",
    variants={LABEL: Variant(LABEL)},
    panels={"Encoder": (ALM, LABEL)},
    tasks=("ant_truncated-v2", "humanoid_truncated-v2"),
    claims=(
        claim(
            "Learning the encoder is necessary on high-dimensional tasks: the identity performs worse",
            "Appendix E and Figure 13",
            better(NAME, ALM, LABEL),
            note="The laptop's inverted pendulum has 4 dimensions only.",
            profiles=("paper",),
        ),
    ),
    note="The identity has the smallest standard deviation that a learned encoder may have: 0.1 in the paper profile, "
    "0.02 in the small ones.",
)
ARTEFACT = ablation.artefact(ABLATION)

"""Figure 12 of ALM: the logarithm of rewards and values, plain, for the model only, and shifted."""

from __future__ import annotations

from experiments.alm import ablation
from experiments.alm.ablation import Ablation, better, claim, no_worse
from experiments.alm.common import ALM, Variant

NAME = "alm/figure12"
SECTION = "Appendix E and Figure 12"

ABLATION = Ablation(
    name=NAME,
    title="The logarithm of rewards and values",
    figure="Figure 12",
    variants={
        "log": Variant("log"),
        "log, model only": Variant("log, model only"),
        "shifted log": Variant("shifted log"),
    },
    panels={"Logarithm": (ALM, "log", "log, model only", "shifted log")},
    tasks=("half_cheetah-v4", "walker2d-v4"),
    claims=(
        claim("The plain logarithm everywhere is worse than none", SECTION, better(NAME, ALM, "log")),
        claim(
            "For encoder and model alone the logarithm does no harm: at most a tenth lower",
            SECTION,
            no_worse(NAME, "log, model only", ALM),
        ),
        claim("The shifted logarithm does no harm: at most a tenth lower", SECTION, no_worse(NAME, "shifted log", ALM)),
    ),
    note="The plain logarithm is taken of predictions cut off at 0.001, and the factor 1 − γ that Eq. 6 gives the "
    "reward's is left out. So it is in the authors' code of this experiment, an earlier revision of the released one, "
    "which adds 10 to the rewards instead of cutting off. The shift is 10,000 (Appendix A.8), without the factor too.",
)
ARTEFACT = ablation.artefact(ABLATION)

"""Figure 5 of ALM: which terms of the objective matter, how long roll-outs should be, and whose policy loss."""

from __future__ import annotations

from experiments.alm import ablation
from experiments.alm.ablation import Ablation, better, claim, no_worse
from experiments.alm.common import ALM, Variant

NAME = "alm/figure5"
SECTION = "Sec. 5.3 and Figure 5"
LENGTHS = (1, 2, 4, 5)
FREE = "ALM's representation, TD3's loss"
SAME = "TD3, ALM's architecture"

ABLATION = Ablation(
    name=NAME,
    title="Ablations: terms of the objective, length of roll-outs, policy loss",
    figure="Figure 5 (and 10)",
    variants={
        "no KL": Variant("no KL"),
        "no value": Variant("no value"),
        "no classifier": Variant(changes={"agent.coefficient": 0.0}),
        **{f"ALM({k})": Variant(changes={"agent.horizon": k}) for k in LENGTHS},
        FREE: Variant("TD3 loss"),
        SAME: Variant("TD3, same architecture"),
    },
    panels={
        "Terms of the objective": (ALM, "no KL", "no value", "no classifier"),
        "Length of roll-outs": ("ALM(1)", "ALM(2)", ALM, "ALM(4)", "ALM(5)", "SAC"),
        "Policy loss": (ALM, FREE, SAME, "SAC"),
    },
    tasks=("ant_truncated-v2", "walker2d-v4"),
    claims=(
        claim("The KL term is crucial for good performance", SECTION, better(NAME, ALM, "no KL")),
        claim("The classifier term helps", SECTION, better(NAME, ALM, "no classifier")),
        claim(
            "The value term has little effect: without it the return is at most a tenth lower",
            SECTION,
            no_worse(NAME, "no value", ALM),
        ),
        *(
            claim(
                f"K = 3 performs best: no worse than K = {k} by more than a tenth",
                "Figure 10b",
                no_worse(NAME, ALM, f"ALM({k})"),
            )
            for k in LENGTHS
        ),
        claim("All lengths of roll-outs perform better than SAC: K = 1", "Figure 10b", better(NAME, "ALM(1)", "SAC")),
        claim(
            "ALM's representation alone helps: TD3's loss on it beats TD3 with the same architecture",
            SECTION,
            better(NAME, FREE, SAME),
        ),
    ),
    note="The paper does not say on which tasks Figure 5 is; its text speaks of Ant and Walker, and Figure 10a is on "
    "Humanoid-v2 and Walker-v2. The paper profile has T-Ant and Walker2d, which are Table 1's. The "
    "laptop trains four of the nine variants, about two minutes each; the claims about the others stay OPEN there.",
    laptop=("no KL", "no classifier", FREE, SAME),
)
ARTEFACT = ablation.artefact(ABLATION)

"""The papers by their citations: the method that a reader looks for, and the title."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PAPERS", "Paper", "paper_of"]


class Paper(NamedTuple):
    """A paper as the report's navigation names it.

    Attributes:
      method: the method that it proposes; of a citation that is not known the citation itself.
      title: its title; empty where it is not known.
      cited: authors and year, as `Artefact.paper` begins.
    """

    method: str
    title: str
    cited: str


PAPERS = {
    cited: Paper(method, title, cited)
    for cited, method, title in (
        ("Janner et al. 2019", "MBPO", "When to Trust Your Model: Model-Based Policy Optimization"),
        (
            "Eysenbach et al. 2022",
            "MnM",
            "Mismatched No More: Joint Model-Policy Optimization for Model-Based RL",
        ),
        (
            "Ghugare et al. 2023",
            "ALM",
            "Simplifying Model-based RL: Learning Representations, Latent-space Models, and Policies with One "
            "Objective",
        ),
        ("Haghgoo et al. 2021", "DAM", "Discriminator Augmented Model-Based Reinforcement Learning"),
        ("Modhe et al. 2021", "MAO", "Model-Advantage Optimization for Model-Based Reinforcement Learning"),
        (
            "Luo et al. 2019",
            "SLBO",
            "Algorithmic Framework for Model-based Deep Reinforcement Learning with Theoretical Guarantees",
        ),
        ("Voelcker et al. 2022", "VaGraM", "Value Gradient weighted Model-Based Reinforcement Learning"),
        (
            "Chua et al. 2018",
            "PETS",
            "Deep Reinforcement Learning in a Handful of Trials using Probabilistic Dynamics Models",
        ),
        (
            "Buckman et al. 2018",
            "STEVE",
            "Sample-Efficient Reinforcement Learning with Stochastic Ensemble Value Expansion",
        ),
    )
}


def paper_of(source: str) -> Paper:
    """The paper of a source such as `Janner et al. 2019, Figure 2`: of several, the first one named."""
    cited = source.split(",")[0].split(";")[0].strip()
    return PAPERS.get(cited, Paper(cited, "", cited))

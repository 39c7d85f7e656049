"""Ghugare et al., "Simplifying Model-Based RL" (ALM), ICLR 2023."""

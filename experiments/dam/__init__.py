"""Haghgoo et al., "Discriminator Augmented Model-Based Reinforcement Learning" (arXiv 2103.12999)."""

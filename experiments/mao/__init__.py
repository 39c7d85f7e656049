"""Modhe et al., "Model-Advantage Optimization for Model-Based Reinforcement Learning" (2021)."""

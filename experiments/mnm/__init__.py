"""Eysenbach et al., "Mismatched No More: Joint Model-Policy Optimization for Model-Based RL" (NeurIPS 2022)."""

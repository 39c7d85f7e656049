"""Decision-aware model-based reinforcement learning in JAX: pure functions over pytrees, seed sweeps in one program."""

__version__ = "0.1.0"

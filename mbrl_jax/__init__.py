"""Decision-aware model-based reinforcement learning in JAX: pure functions over pytrees, whole seed sweeps on device."""

__version__ = "0.1.0"

"""Agents: what learns to act. Each module has `Config`, `State` and functions of both."""

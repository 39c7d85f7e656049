"""Timing of peers, each in a virtual environment of its own; none of them is a dependency of this project."""

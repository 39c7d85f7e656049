"""Algorithms on finite MDPs: whole runs of learning or of exact alternation as one pure function of arrays."""

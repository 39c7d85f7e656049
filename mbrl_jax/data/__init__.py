"""Data on the device: packed rows, replay, slabs of imagined transitions, normalisation."""

"""What learners minimise, by concept, as pure functions: arrays in, arrays out; no networks, no keys, no parameters.

The papers' bounds, lemmas and identities on finite MDPs are in `mbrl_jax.theory`.
"""

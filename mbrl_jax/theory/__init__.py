"""The papers' bounds, lemmas and identities on finite MDPs, exact, one module per paper (docs/theory.md)."""

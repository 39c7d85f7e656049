"""The distractor experiment of VaGraM (Voelcker et al., 2022)."""

"""ALM's agent: an encoder, a latent model, a classifier, critics and an actor under one objective (`learner`)."""

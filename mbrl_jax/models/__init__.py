"""Models: what is fitted to transitions. Each module has `Config`, `State` and functions of both."""

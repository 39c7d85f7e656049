"""Loops that make an `Algorithm` of a method, one for each kind of data: replay, fresh fragments, whole episodes."""

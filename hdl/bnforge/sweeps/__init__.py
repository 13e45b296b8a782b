"""The baselines: cores that sweep a channel tile several times."""

"""Names of the baselines in the results."""

HAND = "hand features"
HAND_ROWS = "hand features, folds of rows"
SCRATCH = "supervised from scratch"

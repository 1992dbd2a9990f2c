"""Names of the baselines in the results."""

HAND = "hand features"
RANDOM = "random encoder"
SCRATCH = "supervised from scratch"
OF_ROWS = ", folds of rows"
HAND_ROWS = HAND + OF_ROWS

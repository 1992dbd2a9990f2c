"""Names in the results: of the baselines, and of the files that say what was evaluated."""

HAND = "hand features"
RANDOM = "random encoder"
SCRATCH = "supervised from scratch"
OF_ROWS = ", folds of rows"
HAND_ROWS = HAND + OF_ROWS
CONFIG, EVALUATION = "config.yaml", "evaluation.json"

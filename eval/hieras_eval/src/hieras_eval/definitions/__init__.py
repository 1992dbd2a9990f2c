"""The published benchmarks: what is fixed by rule, one file each."""

from hieras_eval.definitions.hbabel import HBABEL
from hieras_eval.definitions.mabe22 import FLIES, MICE
from hieras_eval.definitions.shot7m2 import SHOT7M2

RULES = {
    "Shot7M2": SHOT7M2,
    "hBABEL": HBABEL,
    "mabe_mice": MICE,
    "mouse": MICE,
    "mabe_flies": FLIES,
    "flies": FLIES,
}
"""Name on the command line -> rules; ``mouse`` and ``flies`` are those of the MABe evaluator."""

__all__ = ["FLIES", "HBABEL", "MICE", "RULES", "SHOT7M2"]

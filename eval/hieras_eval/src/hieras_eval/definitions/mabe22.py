"""MABe 2022, round 1: mouse triplets and groups of flies.

Clips are named at random and the splits are shuffled: both follow from no rule and are read from
the user's own checkout.
"""

from __future__ import annotations

from hieras_eval.definitions.rules import Rules, Sizes

SINGLE_FLY = "_singletask"

_MICE_TASKS = (
    "experiment_day time_of_day strain approaches chases close contact huddles oral_ear_contact "
    "oral_genital_contact oral_oral_contact watching lights"
)

_FLY_LINES = (
    "control BDP_sexseparated Control_RGB 71G01 male71G01_femaleBDP 65F12 91B01 BlindControl "
    "aIPgpublished3_newstim pC1dpublished1_newstim aIPgBlind_newstim"
)
_STIMULATED_LINES = (
    "BlindControl Control_RGB aIPgBlind_newstim aIPgpublished3_newstim pC1dpublished1_newstim"
)
_STIMULI = "offvson offvsstrong offvsweak weakvsstrong firstvslast_strong"
_FLY_TRAITS = "courtship control blind aIPg aggression GMR71G01 sexseparated"
# Behaviour of a single fly -> the flies for which it is scored.
_SINGLE_FLIES = {
    "female": range(11),
    "perframe_aggression": range(10),
    "perframe_chase": range(10),
    "perframe_courtship": (0, 2, 3, 5, 6, 7),
    "perframe_highfence2": (0, 1, 2, 3, 4, 7, 8, 9),
    "perframe_wingext": (2, 6, 7, 8),
    "perframe_wingflick": range(9),
}


def _group(task: str, sequence_level: bool) -> str:
    return "sequence" if sequence_level else "frame"


def _fly_tasks() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All entries (``control`` stands there twice), and the sequence-level ones."""
    sequence = (
        *_FLY_LINES.split(),
        *(f"{line}_{s}" for line in _STIMULATED_LINES.split() for s in _STIMULI.split()),
        *_FLY_TRAITS.split(),
        f"female{SINGLE_FLY}_fly_0",
    )
    single = [
        f"{base}{SINGLE_FLY}_fly_{fly}"
        for fly in range(11)
        for base, flies in _SINGLE_FLIES.items()
        if fly in flies
    ]
    return (*sequence, *(name for name in single if name not in sequence)), sequence


MICE = Rules(
    title="MABe22 mouse triplets",
    max_width=128,
    seeds=(42, 43, 44),
    inner_test_size=0.1,
    tasks=tuple(_MICE_TASKS.split()),
    sequence_level=("experiment_day", "strain", "lights"),
    group=_group,
    sizes=Sizes(3736, 2668, 533, 535),
    fingerprints={
        "jax_split.json": "e773fe15f808fd47",
        "mouse_frame_number_map.npy": "a9fa79ea5bd59e89",
    },
)

FLIES = Rules(
    title="MABe22 flies",
    max_width=256,
    seeds=(42, 43, 44),
    inner_test_size=0.1,
    tasks=_fly_tasks()[0],
    sequence_level=_fly_tasks()[1],
    group=_group,
    averaged_pattern=SINGLE_FLY,
    sizes=Sizes(543, 217, 147, 179),
)

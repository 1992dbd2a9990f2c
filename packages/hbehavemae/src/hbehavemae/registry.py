"""The published files of hBehaveMAE and of its data sets: where they are, what is known of them.

Sizes and hashes stand here only as far as their publishers state them in print; the publishers'
own lists are asked at download for the rest (``record``).
"""

from __future__ import annotations

from behaviorzoo.downloads import Registry, RemoteFile

PAPER = (
    "Stoffl, Bonnetto, d'Ascoli, Mathis: Elucidating the Hierarchical Nature of Behavior with "
    "Masked Autoencoders, ECCV 2024, pp. 106-125"
)

_ZENODO = "https://zenodo.org/records/13790191"
_ZENODO_FILES = "https://zenodo.org/api/records/13790191/files"
_HUGGING_FACE = "https://huggingface.co/datasets/amathislab/SHOT7M2"
_HUGGING_FACE_FILES = (
    "https://huggingface.co/api/datasets/amathislab/SHOT7M2/tree/main?recursive=true"
)
_CALTECH = "https://data.caltech.edu/records/8kdn3-95j37"
_CALTECH_FILES = "https://data.caltech.edu/api/records/8kdn3-95j37/files"


def _weights(data: str, about: str = "not stated") -> RemoteFile:
    name = f"hBehaveMAE_{data}.pth"
    return RemoteFile(
        name=name,
        url=f"{_ZENODO}/files/{name}?download=1",
        what=f"hBehaveMAE trained on {data}: weights and optimiser state",
        licence=f"not stated here, see {_ZENODO}",
        cite=PAPER,
        about=about,
        record=_ZENODO_FILES,
    )


def _shot7m2(entry: str, what: str, about: str = "not stated") -> RemoteFile:
    return RemoteFile(
        name=f"Shot7M2/{entry}",
        url=f"{_HUGGING_FACE}/resolve/main/{entry}?download=true",
        what=f"Shot7M2, {what}",
        licence="ecl-2.0",
        cite=PAPER,
        about=about,
        record=_HUGGING_FACE_FILES,
        entry=entry,
    )


def _mabe22(entry: str, what: str) -> RemoteFile:
    return RemoteFile(
        name=f"MABe22/{entry}",
        url=f"{_CALTECH}/files/{entry}?download=1",
        what=f"MABe22 mouse triplets, {what}",
        licence=f"not stated here, see {_CALTECH}",
        cite=f"the MABe22 record, {_CALTECH}",
        record=_CALTECH_FILES,
    )


WEIGHTS = (
    _weights("Shot7M2"),
    _weights("hBABEL"),
    _weights("MABe22", about="244 MB"),
)
SHOT7M2 = (
    _shot7m2("train/train_dictionary_poses.npy", "poses of 1280 training episodes", "719 MB"),
    _shot7m2("train/train_dictionary_actions.npy", "labels of the training episodes", "387 MB"),
    _shot7m2("test/test_dictionary_poses.npy", "poses of 2720 test episodes"),
    _shot7m2("test/test_dictionary_actions.npy", "labels of the test episodes"),
    _shot7m2("test/benchmark_labels.npy", "labels of the test episodes for the benchmark"),
)
MABE22 = (
    _mabe22("mouse_triplet_train.npy", "poses of 1600 training clips"),
    _mabe22("mouse_triplet_test.npy", "poses of 3736 test clips"),
    _mabe22("mouse_triplets_test_labels.npy", "labels of the test clips"),
)

HBABEL_STEPS = """\
1. Register at https://babel.is.tue.mpg.de and accept its licence; download the BABEL labels.
2. Register at https://amass.is.tue.mpg.de; with the TEACH code (https://github.com/athn-nik/teach)
   make babel-smplh-30fps-male/{train,val,test}.pth.tar and babel-teach/{train,val}.json from them.
3. Put both folders into one folder, such as data/babel.
4. hbehavemae prepare hbabel-poses data/babel
5. hbehavemae prepare hbabel-labels data/babel --out data/hBABEL"""

REGISTRY = Registry(
    files=WEIGHTS + SHOT7M2 + MABE22,
    sets={
        "weights": tuple(file.name for file in WEIGHTS),
        "shot7m2": tuple(file.name for file in SHOT7M2),
        "mabe22": tuple(file.name for file in MABE22),
    },
    manual={"hbabel": HBABEL_STEPS},
)

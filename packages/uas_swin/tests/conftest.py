"""Where the optional folders of reference and real data are found, and a tiny network to train."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[3]
# A busy machine is no defect.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def _folder(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable, default))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder.name!r}: set ${variable} to run this test")
    return folder


@pytest.fixture(scope="session")
def goldens_dir() -> Path:
    return _folder("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens")


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    return _folder("BEHAVIORZOO_DATA", ROOT.parent / "shared" / "data")


TINY = """
_base_ = {base!r}

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4]),
        window_size=(2, 2, 2),
        drop_path_rate={drop_path_rate},
    ),
)
load_from = None
classes = {classes!r}
lists = dict(train={train!r}, val={val!r}, videos={videos!r})
optim_wrapper = dict(accumulative_counts=2)
param_scheduler = dict(epochs=2)
train_cfg = dict(max_epochs=2, val_interval=1)
randomness = dict(seed=3)


def _steps(short, crop, **sampling):
    return [
        dict(type="UasOpenVideo"),
        dict(type="UasSampleFrames", clip_len=4, **sampling),
        dict(type="UasDecode"),
        dict(type="UasResize", scale=(-1, short)),
        *crop,
        dict(type="UasFormatShape"),
        dict(type="PackActionInputs"),
    ]


_random = [
    dict(type="UasRandomResizedCrop"),
    dict(type="UasResize", scale=(32, 32), keep_ratio=False),
    dict(type="UasFlip"),
]
_centre = [dict(type="UasCenterCrop", crop_size=32)]
_three = [dict(type="UasThreeCrop", crop_size=32)]
train_dataloader = dict(num_workers=0, dataset=dict(pipeline=_steps(36, _random)))
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=_steps(36, _centre, test_mode=True)))
test_dataloader = dict(
    num_workers=0, dataset=dict(pipeline=_steps(32, _three, num_clips=2, test_mode=True))
)
"""


@pytest.fixture(scope="session")
def write_tiny_config() -> Callable[..., Path]:
    """Writes ``tiny.py``: a network of some thousand weights and clips of four frames."""

    def write(folder: Path, drop_path_rate: float = 0.2, **places: Path) -> Path:
        """A configuration with ``train``, ``val``, ``classes`` and ``videos`` in these places."""
        from uas_swin.config import config_path

        words = {name: str(path) for name, path in places.items()}
        base = str(config_path("own_videos_tiny"))
        path = folder / "tiny.py"
        path.write_text(TINY.format(base=base, drop_path_rate=drop_path_rate, **words))
        return path

    return write

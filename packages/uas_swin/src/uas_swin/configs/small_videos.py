# ruff: noqa: C408  (the way mmengine writes configurations)
"""A small network and small clips (16 frames of 64 pixels), to try everything on a CPU.

It learns from nothing in minutes: frames in a row and large patches, so that a motion stays within
a patch from one frame to the next, and larger weights at the start: the published 0.02, made for
widths of 96 to 1,536, lets hardly anything through so narrow a network.

Set classes, lists.train, lists.val and lists.videos (see `uas-swin prepare folder`).
"""

_base_ = [
    "./_base_/swin_base.py",
    "./_base_/clips_32x1.py",
    "./_base_/schedule_30e.py",
    "./_base_/runtime.py",
]

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=48,
            depths=[1, 2, 1],
            num_heads=[3, 6, 12],
        ),
        patch_size=(2, 8, 8),
        window_size=(8, 4, 4),
        drop_path_rate=0.0,
        init_cfg=[
            dict(type="TruncNormal", layer="Linear", std=0.06, bias=0.0),
            dict(type="Constant", layer="LayerNorm", val=1.0, bias=0.0),
        ],
    ),
    cls_head=dict(dropout_ratio=0.0),
    test_cfg=dict(max_testing_views=None),
)
classes = "data/videos/videos_classes.txt"
lists = dict(
    train="data/videos/videos_train.txt",
    val="data/videos/videos_val.txt",
    videos="data/videos",
)


def _steps(short, crop, **sampling):
    return [
        dict(type="UasOpenVideo", reader="pyav"),
        dict(type="UasSampleFrames", clip_len=16, frame_interval=1, **sampling),
        dict(type="UasDecode"),
        dict(type="UasResize", scale=(-1, short)),
        *crop,
        dict(type="UasFormatShape"),
        dict(type="PackActionInputs"),
    ]


_random = [
    dict(type="UasRandomResizedCrop", area_range=(0.7, 1.0)),
    dict(type="UasResize", scale=(64, 64), keep_ratio=False),
    dict(type="UasFlip", flip_ratio=0.5),
]
_centre = [dict(type="UasCenterCrop", crop_size=64)]
_three = [dict(type="UasThreeCrop", crop_size=64)]

train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(pipeline=_steps(72, _random)),
)
val_dataloader = dict(
    batch_size=8,
    dataset=dict(pipeline=_steps(72, _centre, test_mode=True)),
)
test_dataloader = dict(
    batch_size=8,
    dataset=dict(pipeline=_steps(64, _three, test_mode=True)),
)
# From nothing: a high rate, everywhere.
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    accumulative_counts=1,
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0))),
)
param_scheduler = dict(warmup_epochs=1.0)
train_cfg = dict(max_epochs=12)
work_dir = "./work_dirs/small_videos"

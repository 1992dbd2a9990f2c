# ruff: noqa: C408  (the way mmengine writes configurations)
"""Kinetics-400 from a Swin-B for pictures (ImageNet-22k): every weight is trained."""

_base_ = [
    "./_base_/swin_base.py",
    "./_base_/clips_32x2.py",
    "./_base_/schedule_30e.py",
    "./_base_/runtime.py",
]

train_dataloader = dict(
    dataset=dict(
        ann_file="data/kinetics400/kinetics400_train_list.txt",
        data_prefix=dict(video="data/kinetics400/train"),
    )
)
val_dataloader = dict(
    dataset=dict(
        ann_file="data/kinetics400/kinetics400_val_list.txt",
        data_prefix=dict(video="data/kinetics400/val"),
    )
)
test_dataloader = dict(
    dataset=dict(
        ann_file="data/kinetics400/kinetics400_val_list.txt",
        data_prefix=dict(video="data/kinetics400/val"),
    )
)
work_dir = "./work_dirs/swin_base_patch244_window877_kinetics400_22k"

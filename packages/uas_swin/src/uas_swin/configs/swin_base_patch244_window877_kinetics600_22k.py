# ruff: noqa: C408  (the way mmengine writes configurations)
"""Kinetics-600 from a Swin-B for pictures (ImageNet-22k)."""

_base_ = "./swin_base_patch244_window877_kinetics400_22k.py"

model = dict(cls_head=dict(num_classes=600))
train_dataloader = dict(
    dataset=dict(
        ann_file="data/kinetics600/kinetics600_train_list.txt",
        data_prefix=dict(video="data/kinetics600/train"),
    )
)
val_dataloader = dict(
    dataset=dict(
        ann_file="data/kinetics600/kinetics600_val_list.txt",
        data_prefix=dict(video="data/kinetics600/val"),
    )
)
test_dataloader = dict(
    dataset=dict(
        ann_file="data/kinetics600/kinetics600_val_list.txt",
        data_prefix=dict(video="data/kinetics600/val"),
    )
)
work_dir = "./work_dirs/swin_base_patch244_window877_kinetics600_22k"

# ruff: noqa: C408  (the way mmengine writes configurations)
"""Linear probe of the 103 classes that are new in Kinetics-700 on a Kinetics-600 backbone."""

_base_ = "./swin_base_patch244_window877_kinetics400_22k.py"

model = dict(cls_head=dict(num_classes=103))
freeze_backbone = True
load_from = "data/checkpoints/swin_base_patch244_window877_kinetics600_22k.pth"
train_dataloader = dict(
    dataset=dict(
        ann_file="data/kinetics700_diff/k700_diff_train.txt",
        data_prefix=dict(video="data/kinetics700_diff/train"),
    )
)
val_dataloader = dict(
    dataset=dict(
        ann_file="data/kinetics700_diff/k700_diff_val.txt",
        data_prefix=dict(video="data/kinetics700_diff/val"),
    )
)
test_dataloader = dict(
    dataset=dict(
        ann_file="data/kinetics700_diff/k700_diff_val.txt",
        data_prefix=dict(video="data/kinetics700_diff/val"),
    )
)
work_dir = "./work_dirs/swin_base_patch244_window877_kinetics700_diff_k600"

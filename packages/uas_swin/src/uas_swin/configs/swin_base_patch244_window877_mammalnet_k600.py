# ruff: noqa: C408  (the way mmengine writes configurations)
"""Linear probe of MammalNet's 12 behaviours on a Kinetics-600 backbone."""

_base_ = "./swin_base_patch244_window877_kinetics400_22k.py"

model = dict(cls_head=dict(num_classes=12))
freeze_backbone = True
load_from = "data/checkpoints/swin_base_patch244_window877_kinetics600_22k.pth"
train_dataloader = dict(
    dataset=dict(
        ann_file="data/mammalnet/train_base.txt",
        data_prefix=dict(video="data/mammalnet/mammalnet"),
    )
)
val_dataloader = dict(
    dataset=dict(
        ann_file="data/mammalnet/val_base.txt",
        data_prefix=dict(video="data/mammalnet/mammalnet"),
    )
)
test_dataloader = dict(
    dataset=dict(
        ann_file="data/mammalnet/test_base.txt",
        data_prefix=dict(video="data/mammalnet/mammalnet"),
    )
)
work_dir = "./work_dirs/swin_base_patch244_window877_mammalnet_k600"

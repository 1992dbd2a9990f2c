# ruff: noqa: C408  (the way mmengine writes configurations)
"""Linear probe of ChimpBehave's 7 behaviours on a Kinetics-700 backbone."""

_base_ = [
    "./_base_/swin_base.py",
    "./_base_/clips_32x1.py",
    "./_base_/schedule_30e.py",
    "./_base_/runtime.py",
]

model = dict(cls_head=dict(num_classes=7))
freeze_backbone = True
classes = [
    "sitting",
    "standing",
    "walking",
    "hanging",
    "climbing_up",
    "climbing_down",
    "running",
]
load_from = "data/checkpoints/swin_base_patch244_window877_kinetics700_22k.pth"
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        ann_file="data/chimpbehave/chimpbehave_train.txt",
        data_prefix=dict(video="data/chimpbehave/miniclips"),
    ),
)
val_dataloader = dict(
    dataset=dict(
        ann_file="data/chimpbehave/chimpbehave_val.txt",
        data_prefix=dict(video="data/chimpbehave/miniclips"),
    )
)
test_dataloader = dict(
    dataset=dict(
        ann_file="data/chimpbehave/chimpbehave_val.txt",
        data_prefix=dict(video="data/chimpbehave/miniclips"),
    )
)
work_dir = "./work_dirs/swin_base_patch244_window877_chimpBehave_k700"

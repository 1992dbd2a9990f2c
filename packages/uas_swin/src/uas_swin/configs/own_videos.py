# ruff: noqa: C408  (the way mmengine writes configurations)
"""Anybody's videos, by lists of `uas-swin prepare folder`: a linear probe on Kinetics-600.

Set classes, lists.train, lists.val and lists.videos (see `uas-swin prepare folder`).
"""

_base_ = "./swin_base_patch244_window877_kinetics400_22k.py"

freeze_backbone = True
classes = "data/videos/videos_classes.txt"
lists = dict(
    train="data/videos/videos_train.txt",
    val="data/videos/videos_val.txt",
    videos="data/videos",
)
load_from = "data/checkpoints/swin_base_patch244_window877_kinetics600_22k.pth"
work_dir = "./work_dirs/own_videos"

# ruff: noqa: C408  (the way mmengine writes configurations)
"""Anybody's videos, a small network (Swin-T) that is trained as a whole, from nothing."""

_base_ = "./own_videos.py"

model = dict(backbone=dict(arch="tiny"))
freeze_backbone = False
load_from = None
work_dir = "./work_dirs/own_videos_tiny"

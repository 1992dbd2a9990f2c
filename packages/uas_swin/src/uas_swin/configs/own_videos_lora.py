# ruff: noqa: C408  (the way mmengine writes configurations)
"""Anybody's videos, with low-rank branches that are trained beside the head."""

_base_ = "./own_videos.py"

model = dict(backbone=dict(use_lora=True, lora_rank=32))
work_dir = "./work_dirs/own_videos_lora"

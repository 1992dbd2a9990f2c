# ruff: noqa: C408  (the way mmengine writes configurations)
"""Low-rank branches (rank 32, q and v) on the 103 classes that are new in Kinetics-700.

The branches start from zero. The published run drew both factors, as
model.backbone.lora_init=upstream does.
"""

_base_ = "./swin_base_patch244_window877_kinetics700_diff_k600.py"

model = dict(backbone=dict(use_lora=True, lora_rank=32, lora_alpha=None))
work_dir = "./work_dirs/swin_base_patch244_window877_kinetics700_diff_k600_lora"

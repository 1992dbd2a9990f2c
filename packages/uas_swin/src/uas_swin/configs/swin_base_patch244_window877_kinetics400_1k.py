# ruff: noqa: C408  (the way mmengine writes configurations)
"""Kinetics-400 from a Swin-B for pictures (ImageNet-1k): a higher rate, deeper dropping."""

_base_ = "./swin_base_patch244_window877_kinetics400_22k.py"

model = dict(backbone=dict(drop_path_rate=0.3), test_cfg=dict(max_testing_views=4))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
work_dir = "./work_dirs/swin_base_patch244_window877_kinetics400_1k"

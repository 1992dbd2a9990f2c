"""Full fine-tuning on the 103 classes that are new in Kinetics-700."""

_base_ = "./swin_base_patch244_window877_kinetics700_diff_k600.py"

freeze_backbone = False
work_dir = "./work_dirs/swin_base_patch244_window877_kinetics700_diff_k600_full"

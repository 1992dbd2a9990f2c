# ruff: noqa: C408  (the way mmengine writes configurations)
"""What every run has: checkpoints, logs, seeds, and shortcuts of this package."""

# Shortcuts, see uas_swin.config: each sets several keys below at once.
freeze_backbone = False
classes = None  # names of the classes, or a file of them: also their number
lists = dict(train=None, val=None, test=None, videos=None)  # list files, folder of the videos

default_scope = "mmaction"
default_hooks = dict(
    runtime_info=dict(type="RuntimeInfoHook"),
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=20, ignore_last=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
# Random clips and crops follow from seed, epoch and sample, so that a resumed run goes on exactly.
custom_hooks = [dict(type="SeedSamples")]
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_processor = dict(type="LogProcessor", window_size=20, by_epoch=True)
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=None, deterministic=False, diff_rank_seed=False)
val_evaluator = dict(type="UasAccuracy")
test_evaluator = dict(type="UasAccuracy")

# ruff: noqa: C408  (the way mmengine writes configurations)
"""AdamW by the published rules, 30 epochs of a cosine with a warm-up, a step every 8 iterations."""

optim_wrapper = dict(
    type="CarriedOptimWrapper",
    constructor="GroupedOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=3e-4, betas=(0.9, 0.999), weight_decay=0.05),
    # Of the keys that are part of a name only the longest applies.
    paramwise_cfg=dict(
        custom_keys=dict(
            absolute_pos_embed=dict(decay_mult=0.0),
            relative_position_bias_table=dict(decay_mult=0.0),
            norm=dict(decay_mult=0.0),
            backbone=dict(lr_mult=0.1),
        )
    ),
    accumulative_counts=8,
)
param_scheduler = dict(
    type="EpochCosineLR",
    convert_to_iter_based=True,
    warmup_epochs=2.5,
    warmup_ratio=0.1,
    min_lr=0.0,
)
train_cfg = dict(by_epoch=True, max_epochs=30, val_begin=1, val_interval=5)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

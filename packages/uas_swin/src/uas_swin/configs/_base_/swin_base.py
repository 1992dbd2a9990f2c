# ruff: noqa: C408  (the way mmengine writes configurations)
"""Video Swin-B with the head of the published runs."""

model = dict(
    type="UASRecognizer3D",
    backbone=dict(
        type="UASSwinTransformer3D",
        arch="base",
        patch_size=(2, 4, 4),
        window_size=(8, 7, 7),
        patch_norm=True,
        drop_path_rate=0.2,
        with_cp=False,
        use_lora=False,
        lora_rank=0,
        lora_alpha=None,
        lora_type="all",
        lora_layer_type="qv",
    ),
    cls_head=dict(
        type="I3DHead",
        num_classes=400,  # also the number that lists are checked against
        in_channels=1024,  # follows from arch
        spatial_type="avg",
        dropout_ratio=0.5,
        average_clips="prob",
    ),
    data_preprocessor=dict(
        type="ActionDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape="NCTHW",
    ),
    # Views of a video that pass the network at a time.
    test_cfg=dict(max_testing_views=2),
    freeze_backbone=False,
)

# ruff: noqa: C408  (the way mmengine writes configurations)
"""Clips of 32 frames, every second one; in testing 4 clips, each at 3 places of the picture."""

train_pipeline = [
    dict(type="UasOpenVideo", reader="pyav"),
    dict(type="UasSampleFrames", clip_len=32, frame_interval=2, num_clips=1),
    dict(type="UasDecode"),
    dict(type="UasResize", scale=(-1, 256)),
    dict(type="UasRandomResizedCrop"),
    dict(type="UasResize", scale=(224, 224), keep_ratio=False),
    dict(type="UasFlip", flip_ratio=0.5),
    dict(type="UasFormatShape"),
    dict(type="PackActionInputs"),
]
val_pipeline = [
    dict(type="UasOpenVideo", reader="pyav"),
    dict(type="UasSampleFrames", clip_len=32, frame_interval=2, num_clips=1, test_mode=True),
    dict(type="UasDecode"),
    dict(type="UasResize", scale=(-1, 256)),
    dict(type="UasCenterCrop", crop_size=224),
    dict(type="UasFormatShape"),
    dict(type="PackActionInputs"),
]
test_pipeline = [
    dict(type="UasOpenVideo", reader="pyav"),
    dict(type="UasSampleFrames", clip_len=32, frame_interval=2, num_clips=4, test_mode=True),
    dict(type="UasDecode"),
    dict(type="UasResize", scale=(-1, 224)),
    dict(type="UasThreeCrop", crop_size=224),
    dict(type="UasFormatShape"),
    dict(type="PackActionInputs"),
]

train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="UasVideoDataset", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="UasVideoDataset", pipeline=val_pipeline, test_mode=True),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="UasVideoDataset", pipeline=test_pipeline, test_mode=True),
)

"""Everything that a configuration can name, known to mmengine. Takes seconds: mmaction2 is big."""

from __future__ import annotations

from functools import cache


@cache
def register_all() -> None:
    """Register networks, transforms, data sets, metrics, hooks and loops, ours and theirs."""
    from uas_swin.mmlab import without_known_warnings
    from uas_swin.runtime import register

    register()
    with without_known_warnings():
        import mmaction.datasets.transforms  # noqa: F401

    import uas_swin.data.dataset
    import uas_swin.data.seeding
    import uas_swin.metrics.evaluator
    import uas_swin.runner
    import uas_swin.score_files  # noqa: F401

"""List files from what data sets publish, and from folders of anybody's videos.

Every function checks its videos, writes a list per split, the names of the classes and a report,
and returns them as :class:`~uas_swin.data.prepare.writing.Prepared`.
"""

from uas_swin.data.prepare.chimpbehave import prepare_chimpbehave
from uas_swin.data.prepare.folder import prepare_folder
from uas_swin.data.prepare.kinetics700_diff import prepare_kinetics700_diff
from uas_swin.data.prepare.mammalnet import prepare_mammalnet
from uas_swin.data.prepare.writing import Checks, Prepared

__all__ = [
    "Checks",
    "Prepared",
    "prepare_chimpbehave",
    "prepare_folder",
    "prepare_kinetics700_diff",
    "prepare_mammalnet",
]

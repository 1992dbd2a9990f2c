"""Turning what data sets publish into what the loaders read."""

from hbehavemae.prepare.labels import hbabel_labels
from hbehavemae.prepare.poses import hbabel_poses

__all__ = ["hbabel_labels", "hbabel_poses"]

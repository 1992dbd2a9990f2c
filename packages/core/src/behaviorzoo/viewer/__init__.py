"""A page, and a picture, to look at one recording."""

from behaviorzoo.viewer.page import write_view
from behaviorzoo.viewer.picture import view_figure
from behaviorzoo.viewer.scene import Scene, load_scene

__all__ = ["Scene", "load_scene", "view_figure", "write_view"]

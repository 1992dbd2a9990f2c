"""A page, and a picture, to look at one recording.

The picture needs matplotlib, the page does not: hence ``viewer.picture`` is imported apart.
"""

from behaviorzoo.viewer.page import write_view
from behaviorzoo.viewer.scene import Scene, load_scene

__all__ = ["Scene", "load_scene", "write_view"]

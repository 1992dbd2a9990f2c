"""Which pictures of an H.264 stream no other picture refers to (ITU-T H.264, 7.4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.codec.context import CodecContext
    from av.packet import Packet

SLICES = range(1, 6)  # types of the units that hold a picture
LOOK_AHEAD = 4096  # bytes in which a picture begins, after its headers


def spare_pictures(codec: CodecContext) -> Callable[[Packet], bool] | None:
    """A test whether a packet's picture can be left out, for this stream.

    FFmpeg's decoder can be told to skip such pictures. But then it is silent about broken ones that
    others do refer to; so it gets to see everything but the spare ones.

    Args:
        codec: The decoder.

    Returns:
        The test, or None for other codecs, where everything is to be decoded.
    """
    if codec.name != "h264":
        return None
    header = bytes(codec.extradata or b"")
    if header[:1] == b"\x01" and len(header) > 4:  # avcC: units bear their length
        width = (header[4] & 3) + 1
        return lambda packet: _is_spare(_counted_units(memoryview(packet), width))
    return lambda packet: _is_spare(_marked_units(bytes(memoryview(packet)[:LOOK_AHEAD])))


def _is_spare(heads: Iterator[int]) -> bool:
    """By the first bytes of the units: type in the lower 5 bits, importance in the next 2."""
    for head in heads:
        if head & 31 in SLICES:
            return head & 0x60 == 0  # the same for all slices of a picture
    return False


def _counted_units(data: memoryview, width: int) -> Iterator[int]:
    at = 0
    while at + width < len(data):
        yield data[at + width]
        at += width + int.from_bytes(data[at : at + width], "big")


def _marked_units(data: bytes) -> Iterator[int]:
    at = data.find(b"\x00\x00\x01")
    while 0 <= at < len(data) - 3:
        yield data[at + 3]
        at = data.find(b"\x00\x00\x01", at + 3)

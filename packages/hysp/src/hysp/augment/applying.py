"""Applying drawn parameters to a batch, all samples at once.

What acts on one coordinate vector at a time (shear, mirror image, rotation) is one matrix per
sample; crop and exchange of joints are gathers; the blur is a product with a banded T x T matrix.

Letters: B samples, C coordinates, T frames, V joints, M persons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from behaviorzoo.errors import UserError
from hysp.augment.config import AugmentConfig
from hysp.augment.drawn import Drawn, padding
from hysp.compat import check_compat

# fmt: off
NTU_MIRROR = (
    0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 20, 23, 24, 21, 22,
)
# fmt: on
"""Kinect v2: the joint that takes the place of each when left and right are exchanged."""


def apply(
    x: Tensor,
    drawn: Drawn,
    config: AugmentConfig,
    *,
    mirror: Sequence[int] = NTU_MIRROR,
    compat: str = "paper",
) -> Tensor:
    """One view of a batch.

    Three of the original's changes are defects, kept under ``upstream``: its blur multiplies the
    coordinates by up to 5 (the weights are not divided by their sum), its flip exchanges joints
    without mirroring the coordinates (the body is twisted), and its noise also falls on persons
    who are not there. ``paper`` blurs with weights that add up to 1 in every frame, mirrors x,
    and leaves absent persons 0.

    Args:
        x: (B, C, T, V, M), C = 2 or 3, an absent person 0.
        drawn: Parameters of the view.
        config: Widths that are not drawn (``padding_ratio``, ``blur_taps``).
        mirror: (V,) joint that takes the place of each in a mirror image.
        compat: ``paper`` or ``upstream``.

    Returns:
        The same shape and type; ``x`` is not changed.

    Raises:
        UserError: Unknown ``compat``, or ``mirror`` of another skeleton.
    """
    check_compat(compat)
    upstream = compat == "upstream"
    y = _in_time(x, drawn, config.padding_ratio)
    if drawn.flipped is not None:
        order = _order(mirror, x)
        y = _change(y, drawn.flipped, lambda part, _: part.index_select(3, order))
    y = _transformed(y, drawn, mirrored=not upstream)
    if drawn.noisy is not None and drawn.noise is not None:
        noise = _noise_in_time(drawn.noise, drawn.noisy, drawn.reversed).to(y)
        y = _change(y, drawn.noisy, lambda part, _: _with_noise(part, noise, everywhere=upstream))
    if drawn.blurred is not None and drawn.sigma is not None:
        taps, sigma = config.blur_taps, drawn.sigma
        y = _change(
            y, drawn.blurred, lambda part, rows: _blurred(part, sigma[rows], taps, not upstream)
        )
    if drawn.masked is not None and drawn.axis is not None:
        rows = drawn.masked.nonzero()[:, 0]
        y[rows, drawn.axis[rows]] = 0
    return y


def rotation_matrices(degrees: Tensor) -> Tensor:
    """Rz Ry Rx of angles (B, 3) about x, y, z: (B, 3, 3), handed as in the original."""
    cos, sin = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    one, zero = torch.ones_like(cos[:, 0]), torch.zeros_like(cos[:, 0])

    def matrix(*rows: Sequence[Tensor]) -> Tensor:
        return torch.stack([torch.stack(list(row), -1) for row in rows], -2)

    (cx, cy, cz), (sx, sy, sz) = cos.unbind(1), sin.unbind(1)
    about_x = matrix((one, zero, zero), (zero, cx, sx), (zero, -sx, cx))
    about_y = matrix((cy, zero, -sy), (zero, one, zero), (sy, zero, cy))
    about_z = matrix((cz, sz, zero), (-sz, cz, zero), (zero, zero, one))
    return about_z @ about_y @ about_x


def shear_matrices(numbers: Tensor) -> Tensor:
    """[[1, a1, b1], [a2, 1, b2], [a3, b3, 1]] of a1 a2 a3 b1 b2 b3, (B, 6): (B, 3, 3)."""
    matrices = torch.ones(len(numbers), 9, dtype=numbers.dtype, device=numbers.device)
    # Places of a1 a2 a3 b1 b2 b3 in the flat matrix.
    places = torch.tensor([1, 3, 6, 2, 5, 7], device=numbers.device)
    return matrices.index_copy_(1, places, numbers).view(-1, 3, 3)


def blur_matrices(sigma: Tensor, frames: int, taps: int, *, normalised: bool) -> Tensor:
    """Matrices (B, T, T) of a Gaussian blur over ``taps`` frames, zeros beyond the ends.

    Args:
        sigma: (B,) widths in frames.
        frames: T.
        taps: Frames that one looks at, odd.
        normalised: The weights of every frame add up to 1 (at the ends too).
    """
    time = torch.arange(frames, device=sigma.device)
    apart = (time[:, None] - time).abs()
    reach = taps // 2
    # exp() of the few weights there are, and not of a whole matrix per sample
    weights = torch.exp(-(time[: reach + 1] ** 2) / (2 * sigma[:, None] ** 2))
    weights = torch.nn.functional.pad(weights, (0, 1))  # what is out of reach weighs nothing
    index = apart.clamp(max=weights.shape[1] - 1).flatten()
    matrices = weights.index_select(1, index).view(-1, frames, frames)
    return matrices / matrices.sum(-1, keepdim=True) if normalised else matrices


def _in_time(x: Tensor, drawn: Drawn, ratio: int) -> Tensor:
    """The frames of the view, in its order, as a new tensor.

    The crop takes T frames from ``start`` of the sample with P mirrored frames at both ends. The
    reversal is the last change of a view, but may come first: the others treat all frames alike,
    and the blur is symmetric (only the noise must be reversed too).
    """
    B, C, T, V, M = x.shape
    frame = torch.arange(T, device=x.device).expand(B, T)
    if drawn.reversed is not None:
        frame = torch.where(drawn.reversed[:, None], T - 1 - frame, frame)
    if drawn.start is not None:
        frame = frame + drawn.start[:, None] - padding(T, ratio)  # -P .. T + P - 1
        frame = torch.where(frame < 0, -1 - frame, frame)
        frame = torch.where(frame >= T, 2 * T - 1 - frame, frame)
    elif drawn.reversed is None:
        return x.clone()
    first = torch.arange(B * C, device=x.device).view(B, C, 1) * T
    # Whole frames of one coordinate (V * M numbers) are the rows of a table to choose from.
    rows = x.reshape(B * C * T, V * M)
    return rows.index_select(0, (first + frame[:, None]).flatten()).view(B, C, T, V, M)


def _noise_in_time(noise: Tensor, noisy: Tensor, reversed_: Tensor | None) -> Tensor:
    """Noise (n, C, T, V, M) for samples whose frames are in the order of the view."""
    if reversed_ is None:
        return noise
    return _change(noise.clone(), reversed_[noisy], lambda part, _: part.flip(2))


def _transformed(y: Tensor, drawn: Drawn, mirrored: bool) -> Tensor:
    """Shear, then mirror image where flipped, then rotation: one C x C matrix per sample."""
    C = y.shape[1]
    steps: list[Tensor] = []
    if drawn.shear is not None:
        steps.append(shear_matrices(drawn.shear))
    if mirrored and drawn.flipped is not None:
        sign = torch.ones(len(y), 3, dtype=torch.float64, device=y.device)
        sign[:, 0] -= 2 * drawn.flipped
        steps.append(torch.diag_embed(sign))
    if drawn.degrees is not None:
        steps.append(rotation_matrices(drawn.degrees))
    if not steps:
        return y
    matrix = steps[0]
    for step in steps[1:]:
        matrix = step.to(matrix) @ matrix
    # In two dimensions what is left of the matrices is their part in the plane.
    return torch.bmm(matrix[:, :C, :C].to(y), y.flatten(2)).view_as(y)


def _with_noise(x: Tensor, noise: Tensor, everywhere: bool) -> Tensor:
    if everywhere:
        return x + noise
    seen = x.bool()
    there = seen[:, 0]
    for coordinate in range(1, x.shape[1]):  # many times faster than a reduction
        there = there | seen[:, coordinate]
    there = there.any(dim=2)[:, None, :, None].to(x)  # (n, 1, T, 1, M)
    # Written out over the joints: multiplying along an inner axis of two is slow.
    return x + noise * there.expand(-1, -1, -1, x.shape[3], -1).contiguous()


def _blurred(x: Tensor, sigma: Tensor, taps: int, normalised: bool) -> Tensor:
    """Blur (n, C, T, V, M) along T by a matrix (T, T) for each sample."""
    matrices = blur_matrices(sigma.to(x), x.shape[2], taps, normalised=normalised)
    return torch.matmul(matrices[:, None], x.flatten(3)).view_as(x)


def _change(y: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Change the chosen samples of ``y`` in place; the others cost nothing."""
    rows = chosen.nonzero()[:, 0]
    return y.index_copy_(0, rows, change(y.index_select(0, rows), rows)) if len(rows) else y


def _order(mirror: Sequence[int], x: Tensor) -> Tensor:
    if sorted(mirror) != list(range(x.shape[3])):
        raise UserError(
            f"augment: the order of joints in a mirror image has {len(mirror)} entries, the data "
            f"have {x.shape[3]} joints; name left and right joints in data.mirror_pairs"
        )
    return torch.tensor(list(mirror), device=x.device)

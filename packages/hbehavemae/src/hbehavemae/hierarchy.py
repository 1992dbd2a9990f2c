"""A printed picture of the hierarchy: what one token of each level spans and covers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hbehavemae.model.geometry import Geometry, ModelConfig

if TYPE_CHECKING:
    from hbehavemae.data import DataShape

WIDTH = 64
"""Columns of the drawing of one mask unit."""
_ROWS = 6


def describe_hierarchy(
    model: ModelConfig, shape: DataShape | None = None, fps: float | None = None
) -> str:
    """Text that shows, for each level, what one token is.

    Args:
        model: The network.
        shape: Names of key points, groups and individuals; without it only numbers are shown.
        fps: Frames per second, for the times; that of ``shape`` where not given.

    Returns:
        Lines of text: the window, each level from the coarsest to the finest with its grid,
        its width and a drawing of how one mask unit is divided in time, and what is hidden.

    Raises:
        UserError: The geometry does not fit.
    """
    geometry = Geometry(model)
    fps = fps or (shape.fps if shape else None)
    lines = [_window_line(model, shape, fps), ""]
    for level in reversed(range(len(model.stages))):
        lines += _level_lines(geometry, level, shape, fps)
    lines += [*_mask_lines(geometry, fps), *_group_lines(shape)]
    return "\n".join(line.rstrip() for line in lines)


def _window_line(model: ModelConfig, shape: DataShape | None, fps: float | None) -> str:
    T, I, F = model.input_size  # noqa: E741
    values = f"{F} values"
    if shape is not None:
        points = _count(len(shape.keypoints), "key point")
        values = f"{points} x {_count(shape.channels, 'value')}"
    return f"window   {_span(T, fps)} x {_count(I, 'individual')} x {values}"


def _level_lines(
    geometry: Geometry, level: int, shape: DataShape | None, fps: float | None
) -> list[str]:
    last = len(geometry.level_grids) - 1
    grid, frames = geometry.level_grids[level], geometry.frames_per_token[level]
    place = {0: " (finest)", last: " (coarsest)"}.get(level, "") if last else ""
    total = grid[0] * grid[1] * grid[2]
    return [
        f"level {level + 1}{place}: one token = {_span(frames, fps)} of "
        f"{_covered(geometry, level, shape)}",
        f"   grid {' x '.join(map(str, grid))} = {_count(total, 'token')}, "
        f"{_stage_width(geometry, level)} wide -> {geometry.level_dims[level]} features",
        *(f"   {line}" for line in _boxes(geometry, level, shape)),
        "",
    ]


def _stage_width(geometry: Geometry, level: int) -> int:
    return geometry.blocks[geometry.stage_ends[level]].dim_out


def _covered(geometry: Geometry, level: int, shape: DataShape | None) -> str:
    """Words for the individuals and key points under one token."""
    _, I, F = geometry.config.input_size  # noqa: E741
    _, rows, columns = geometry.level_grids[level]
    individuals, values = I // rows, F // columns
    who = "one individual"
    if individuals > 1:
        who = f"all {I} individuals" if individuals == I else f"{individuals} individuals"
    elif I == 1:
        who = "the individual"
    if values == F:
        return f"{who}, all key points" if shape is None else f"{who}, {_all_points(shape)}"
    if shape is None or values % shape.channels:
        return f"{who}, {values} of {F} values"
    points = values // shape.channels
    if points == 1:
        return f"{who}, one key point"
    names = [name for name, members in shape.groups.items() if len(members) == points]
    if len(names) == len(shape.groups) and names:
        return f"{who}, one group of {points} key points"
    return f"{who}, {points} key points"


def _all_points(shape: DataShape) -> str:
    count = len(shape.keypoints)
    return "its only key point" if count == 1 else f"all {count} key points"


def _boxes(geometry: Geometry, level: int, shape: DataShape | None) -> list[str]:
    """One mask unit at this level: tokens in time from left to right, tokens in space below."""
    time, rows, columns = geometry.level_units[level]
    labels = _row_labels(geometry, level, shape)
    # Few enough cells that the names fit.
    cells = max(min(time, WIDTH // max(8, *(len(label) + 3 for label in labels[:_ROWS]))), 1)
    size = (WIDTH - 1) // cells - 1
    note = f"  {time} in time" if time > 1 else ""
    if cells < time:
        note += f" ({cells} drawn)"
    rule, empty = "─" * size, " " * size
    lines = ["┌" + "┬".join([rule] * cells) + "┐" + note]
    for label in labels[:_ROWS]:
        first = f" {label}"[:size].ljust(size)
        lines.append("│" + "│".join([first, *[empty] * (cells - 1)]) + "│")
    if rows * columns > 1:
        lines[-1] += f"  {rows * columns} side by side"
    if len(labels) > _ROWS:
        lines[-1] += f" ({_ROWS} drawn)"
    return [*lines, "└" + "┴".join([rule] * cells) + "┘"]


def _row_labels(geometry: Geometry, level: int, shape: DataShape | None) -> list[str]:
    """A name for each token of one mask unit at one time."""
    _, rows, columns = geometry.level_units[level]
    _, I, F = geometry.config.input_size  # noqa: E741
    if shape is None:
        return [""] * (rows * columns)
    step = I // geometry.level_grids[level][1]
    values = F // geometry.level_grids[level][2]
    who = ["+".join(shape.individuals[row * step : (row + 1) * step]) for row in range(rows)]
    what = [_keypoints_label(shape, column * values, values) for column in range(columns)]
    several = len(shape.individuals) > 1
    return [f"{person} {part}".strip() if several else part for person in who for part in what]


def _keypoints_label(shape: DataShape, first: int, values: int) -> str:
    """Name of the features [first, first + values) of an individual."""
    if values == shape.features or values % shape.channels:
        return "" if values == shape.features else f"values {first}-{first + values - 1}"
    span = slice(first // shape.channels, (first + values) // shape.channels)
    names = tuple(shape.keypoints[span])
    for group, members in shape.groups.items():
        if tuple(members) == names:
            return group
    return ", ".join(names)


def _mask_lines(geometry: Geometry, fps: float | None) -> list[str]:
    model = geometry.config
    frames = model.input_size[0] // geometry.mask_grid[0]
    hidden = geometry.n_units - geometry.n_kept
    tokens = geometry.mask_unit[0] * geometry.mask_unit[1] * geometry.mask_unit[2]
    return [
        f"mask unit: {_span(frames, fps)}, {_count(tokens, 'token')} of level 1; {hidden} of "
        f"{geometry.n_units} units are hidden in training (mask_ratio {model.mask_ratio:g}), "
        f"{geometry.n_kept} stay visible"
    ]


def _group_lines(shape: DataShape | None) -> list[str]:
    if shape is None:
        return []
    if not shape.groups:
        return ["", "key points: " + ", ".join(shape.keypoints)]
    width = max(len(name) for name in shape.groups)
    return [
        "",
        "groups of key points:",
        *(f"   {name:<{width}}  {', '.join(m)}" for name, m in shape.groups.items()),
    ]


def _span(frames: int, fps: float | None) -> str:
    seconds = f" ({frames / fps:.3g} s)" if fps else ""
    return _count(frames, "frame") + seconds


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"

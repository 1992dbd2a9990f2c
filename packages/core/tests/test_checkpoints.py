"""A checkpoint exists completely or not at all, and a stranger's file never runs."""

from __future__ import annotations

import argparse
import collections
import errno
import json
import os
import pickle
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from behaviorzoo import checkpoints
from behaviorzoo.errors import UserError

CONFIG = {"model": {"width": 4, "strides": (1, 2)}, "name": "x"}


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(300, 200), torch.nn.Linear(200, 2))


def save(folder: Path, step: int = 1, **metadata) -> Path:
    return checkpoints.save_checkpoint(
        folder / "checkpoints" / checkpoints.checkpoint_name(step),
        network().state_dict(),
        CONFIG,
        {"step": step, **metadata},
        lambda path: path.write_bytes(b"trainer state"),
    )


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_round_trip(tmp_path):
    path = save(tmp_path, 7, loss=0.5)
    assert files(path) == ["config.yaml", "metadata.json", "model.safetensors", "trainer.ckpt"]
    found = checkpoints.load_checkpoint(path)
    assert found.path == path
    assert found.config == {"model": {"width": 4, "strides": [1, 2]}, "name": "x"}
    assert (found.metadata["step"], found.metadata["loss"]) == (7, 0.5)
    for name, value in network().state_dict().items():
        assert torch.equal(found.state[name], value)


def test_tied_and_strided_tensors_are_saved_by_value(tmp_path):
    base = torch.arange(6.0).reshape(2, 3)
    state = {"a": base, "b": base, "c": base.T, "d": base[:, 1]}
    path = checkpoints.save_checkpoint(tmp_path / "x", state, {"k": 1}, {})
    for name, value in checkpoints.load_checkpoint(path).state.items():
        assert torch.equal(value, state[name])


def test_existing_folder_is_not_overwritten(tmp_path):
    path = save(tmp_path)
    before = (path / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        save(tmp_path)
    assert (path / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "given", [".", "checkpoints", "checkpoints/step-00000012/model.safetensors"]
)
def test_resolve_finds_the_newest(tmp_path, given):
    for step in (2, 12, 5):
        save(tmp_path, step)
    assert checkpoints.resolve_checkpoint(tmp_path / given).name == "step-00000012"


def test_resolve_takes_a_checkpoint_itself(tmp_path):
    older, _ = save(tmp_path, 2), save(tmp_path, 3)
    assert checkpoints.resolve_checkpoint(str(older)) == older


@pytest.mark.parametrize("damage", ["truncate", "config.yaml", "metadata.json", "garbage"])
def test_resolve_ignores_an_incomplete_newest(tmp_path, damage):
    good, bad = save(tmp_path, 2), save(tmp_path, 3)
    if damage == "truncate":
        os.truncate(bad / "model.safetensors", 1000)
    elif damage == "garbage":
        (bad / "metadata.json").write_text("{")
    else:
        (bad / damage).unlink()
    assert checkpoints.resolve_checkpoint(tmp_path) == good
    with pytest.raises(UserError, match=r"step-00000003: incomplete checkpoint"):
        checkpoints.resolve_checkpoint(bad)


def test_resolve_errors(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        checkpoints.resolve_checkpoint(tmp_path / "none")
    with pytest.raises(UserError, match="no complete checkpoint"):
        checkpoints.resolve_checkpoint(tmp_path)
    (tmp_path / "weights.pth").write_text("x")
    with pytest.raises(UserError, match="expected a checkpoint folder"):
        checkpoints.resolve_checkpoint(tmp_path / "weights.pth")


class Killed(BaseException):
    pass


WRITES = 4  # model, trainer state, configuration, metadata


def fail_at(monkeypatch, number: int, error: BaseException) -> None:
    """Let the ``number``-th write of a checkpoint write half and then fail."""
    count = iter(range(number + 1))

    def patched(original):
        def write(self, content, *arguments, **named):
            if next(count, None) == number:
                original(self, content[: len(content) // 2], *arguments, **named)
                raise error
            return original(self, content, *arguments, **named)

        return write

    for name in ("write_bytes", "write_text"):
        monkeypatch.setattr(Path, name, patched(getattr(Path, name)))


@pytest.mark.parametrize("number", [*range(WRITES), "rename"])
def test_a_kill_leaves_the_old_checkpoint_and_rubbish_that_is_cleaned(
    tmp_path, monkeypatch, number
):
    old = save(tmp_path, 1)
    with monkeypatch.context() as patch:
        # After SIGKILL nobody tidies up.
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        if number == "rename":
            patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(Killed()))
        else:
            fail_at(patch, number, Killed())
        with pytest.raises(Killed):
            save(tmp_path, 2)
    folder = tmp_path / "checkpoints"
    assert len(list(folder.iterdir())) == 2
    assert checkpoints.find_checkpoints(folder) == [old]
    removed = checkpoints.clean_leftovers(folder)
    assert len(removed) == 1
    assert removed[0].startswith(".step-00000002")
    assert list(folder.iterdir()) == [old]
    assert save(tmp_path, 2).name == "step-00000002"


@pytest.mark.parametrize("number", range(WRITES))
def test_full_disk(tmp_path, monkeypatch, number):
    old = save(tmp_path, 1)
    fail_at(monkeypatch, number, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(UserError, match=r"step-00000002: no space left on the disk"):
        save(tmp_path, 2)
    assert list((tmp_path / "checkpoints").iterdir()) == [old]


def test_a_file_that_the_system_refuses_to_let_grow(tmp_path):
    """The real thing: the kernel stops the write in the middle of the weights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(UserError, match=r"step-00000001: cannot write"):
            save(tmp_path, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_cleaning_touches_nothing_else(tmp_path):
    good = save(tmp_path, 1)
    (good.parent / "step-00000002").mkdir()
    (good.parent / "notes").mkdir()
    (good.parent / ".hidden").mkdir()
    assert checkpoints.clean_leftovers(good.parent) == ["step-00000002"]
    assert sorted(p.name for p in good.parent.iterdir()) == [".hidden", "notes", "step-00000001"]
    assert checkpoints.clean_leftovers(tmp_path / "none") == []


class Hidden:
    """A pickle that would leave a file behind if it ran."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("layout", ["zip", "legacy", "pickle 2", "pickle 4", "pickle 5"])
def test_code_in_a_file_is_refused_by_name_and_does_not_run(tmp_path, layout):
    file, trap = tmp_path / "weights.pth", tmp_path / "trap"
    content = {"model": {"w": torch.zeros(2)}, "extra": Hidden(trap)}
    if layout.startswith("pickle"):
        file.write_bytes(pickle.dumps({"extra": Hidden(trap)}, protocol=int(layout[-1])))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=layout == "zip")
    with pytest.raises(UserError, match=r"weights\.pth: refused, .*'posix\.system'") as caught:
        checkpoints.load_torch_file(file)
    assert "\n" not in str(caught.value)
    assert not trap.exists()


@pytest.mark.parametrize("value", [torch.nn.Linear(2, 2), collections.Counter, np.zeros(2)])
def test_other_objects_are_refused_too(tmp_path, value):
    torch.save({"x": value}, tmp_path / "x.pth")
    if value is collections.Counter:
        # torch itself knows this one; that it is let in is harmless.
        checkpoints.load_torch_file(tmp_path / "x.pth")
        return
    with pytest.raises(UserError, match="refused, the file asks for"):
        checkpoints.load_torch_file(tmp_path / "x.pth")


def test_authors_files_are_read(tmp_path):
    content = {
        "model": {"w": torch.ones(2)},
        "args": argparse.Namespace(lr=1e-3, stages=[2, 3]),
        "best": np.float64(0.5),
        "count": np.int64(3),
        "flag": np.bool_(True),
    }
    torch.save(content, tmp_path / "x.pth")
    found = checkpoints.load_torch_file(tmp_path / "x.pth")
    assert found["args"].stages == [2, 3]
    assert (found["best"], found["count"], found["flag"]) == (0.5, 3, True)
    assert torch.equal(found["model"]["w"], torch.ones(2))


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
def test_scalars_of_any_numpy_are_read(tmp_path, package):
    """numpy 2 renamed the module whose name stands in the files."""
    file = tmp_path / "x.pkl"
    written = pickle.dumps({"best": np.float64(0.25)}, protocol=2)
    names = [f"c{name}.multiarray\nscalar\n".encode() for name in ("numpy._core", package)]
    assert names[0] in written
    file.write_bytes(legacy_torch_file(written.replace(*names)))
    assert checkpoints.load_torch_file(file) == {"best": 0.25}


def legacy_torch_file(content: bytes) -> bytes:
    """A pickle in the layout that torch wrote before 1.6 (magic number, version, system, keys)."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [0x1950A86A20F9469CFC6C, 1001, system]
    head = b"".join(pickle.dumps(part, protocol=2) for part in parts)
    return head + content + pickle.dumps([], protocol=2)


def damaged(tmp_path: Path, kind: str) -> Path:
    file = tmp_path / "weights.pth"
    torch.save({"model": {"w": torch.arange(5000.0)}}, file)
    whole = file.read_bytes()
    contents = {
        "empty": b"",
        "text": b"hello\nworld\n",
        "noise": np.random.default_rng(0).bytes(5000),
        "page": b"<!DOCTYPE html><html><body>404</body></html>",
        "number": pickle.dumps(3),
        **{f"first {n} bytes": whole[:n] for n in (1, 3, 64, 1000, 20_000)},
    }
    file.write_bytes(contents[kind])
    return file


KINDS = ["empty", "text", "noise", "page", "number"]
KINDS += [f"first {n} bytes" for n in (1, 3, 64, 1000, 20_000)]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_torch_files_give_one_line(tmp_path, kind):
    file = damaged(tmp_path, kind)
    with pytest.raises(UserError, match=r"weights\.pth: ") as caught:
        checkpoints.load_torch_file(file)
    assert "\n" not in str(caught.value)


def test_torch_file_of_something_else(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        checkpoints.load_torch_file(tmp_path / "none.pth")
    with pytest.raises(UserError, match="this is a folder"):
        checkpoints.load_torch_file(tmp_path)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="expected a dictionary of weights, got list"):
        checkpoints.load_torch_file(tmp_path / "list.pth")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 50_000])
def test_truncated_safetensors(tmp_path, size):
    path = save(tmp_path) / "model.safetensors"
    os.truncate(path, size)
    with pytest.raises(UserError, match=r"model\.safetensors: (truncated|the weights is empty)"):
        checkpoints.load_safetensors(path)


def test_strict_load_lists_everything_in_one_line():
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))
    state = {**module.state_dict(), "extra": torch.zeros(1)}
    del state["1.bias"]
    state["0.weight"] = torch.zeros(2, 4)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(UserError) as caught:
        checkpoints.strict_load(module, state, "x.pth")
    message = str(caught.value)
    assert message.startswith("x.pth: ")
    assert "1 missing: 1.bias" in message
    assert "1 unexpected: extra" in message
    assert "1 of another shape: 0.weight (2, 4) instead of (2, 3)" in message
    assert "\n" not in message
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


def test_strict_load_bounds_its_list():
    module = torch.nn.Sequential(*[torch.nn.Linear(1, 1) for _ in range(30)])
    with pytest.raises(UserError, match=r"60 missing: .* and 52 more"):
        checkpoints.strict_load(module, {}, "x.pth")


def test_strict_load_loads():
    source, target = network(), network()
    torch.nn.init.zeros_(target[0].weight)
    checkpoints.strict_load(target, source.state_dict(), "x")
    assert torch.equal(target[0].weight, source[0].weight)


PARTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.binary()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(PARTS, PARTS)
def test_fingerprint_tells_content_apart(one, other):
    assert checkpoints.fingerprint(one) == checkpoints.fingerprint(one)
    if repr(one) != repr(other) and json_like(one) != json_like(other):
        assert checkpoints.fingerprint(one) != checkpoints.fingerprint(other)


def json_like(value):
    """A text in which the order of keys does not matter and types do."""
    if isinstance(value, dict):
        return json.dumps({k: json_like(v) for k, v in sorted(value.items())})
    if isinstance(value, list):
        return json.dumps([json_like(v) for v in value])
    return f"{type(value).__name__} {value!r}"


def test_fingerprint_of_arrays_and_files(tmp_path):
    array = np.arange(6, dtype=np.float32)
    same = checkpoints.fingerprint(array)
    assert same == checkpoints.fingerprint(torch.from_numpy(array.copy()))
    assert same != checkpoints.fingerprint(array.reshape(2, 3))
    assert same != checkpoints.fingerprint(array.astype(np.float64))
    assert same != checkpoints.fingerprint(array[::-1])
    assert checkpoints.fingerprint({"a": 1, "b": 2}) == checkpoints.fingerprint({"b": 2, "a": 1})
    file = tmp_path / "x"
    file.write_text("one")
    one = checkpoints.fingerprint(file)
    file.write_text("two")
    assert checkpoints.fingerprint(file) != one

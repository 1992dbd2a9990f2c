"""Benchmark dictionaries: everything numpy writes is read, nothing a stranger hides is run."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from behaviorzoo import mabe, restricted_pickle
from behaviorzoo.errors import UserError
from behaviorzoo.pickled_values import DamagedPickleError, ForbiddenGlobalError


def everything() -> dict:
    big = np.arange(120_000, dtype=np.float32).reshape(-1, 20)
    return {
        "sequences": {"a": {"keypoints": np.zeros((2, 3, 2), np.float32)}},
        "embeddings": big,
        "same": big,
        "fortran": np.asfortranarray(big[:, :7]),
        "strided": big[::2, ::3],
        "big endian": np.arange(5, dtype=">i4"),
        "structured": np.array([(1, 2)], dtype=[("a", "<f4"), ("b", ">i2")]),
        "objects": np.array(["a", None, [1, 2]], dtype=object),
        "text": np.array(["ab", "c"]),
        "empty": np.empty((0, 4)),
        "scalar array": np.array(3.0),
        "scalars": (np.int64(3), np.float32(0.5), np.bool_(True)),
        "containers": [1, (2, "x"), {"k": {4, 5}}, frozenset([6]), (), []],
        "ordered": collections.OrderedDict(a=1, b=2),
        "default": collections.defaultdict(list, {"q": [1]}),
        "plain": [None, True, 1.5, -7, 2**80, 1 + 2j, "é", b"xx", bytearray(b"yy"), b""],
        "long bytes": (b"z" * 100_000, [b"y" * 100_000]),
        "dtype": np.dtype("<f4"),
    }


def assert_same(read, wanted) -> None:
    if isinstance(wanted, dict):
        assert read.keys() == wanted.keys()
        for key in wanted:
            assert_same(read[key], wanted[key])
    elif isinstance(wanted, np.ndarray):
        assert isinstance(read, np.ndarray)
        assert (read.dtype, read.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(read, wanted)
    else:
        assert read == wanted


@pytest.mark.parametrize("protocol", range(6))
def test_reads_all_that_numpy_and_containers_write(protocol):
    wanted = everything()
    read = restricted_pickle.load(io.BytesIO(pickle.dumps(wanted, protocol)))
    assert_same(read, wanted)
    assert read["same"] is read["embeddings"]
    assert type(read["default"]) is dict


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_reads_the_module_paths_of_numpy_1_and_2(core):
    data = pickle.dumps({"x": np.arange(3.0), "y": np.int64(4)}, 2)
    data = data.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core.encode())
    read = restricted_pickle.load(io.BytesIO(data))
    assert_same(read, {"x": np.arange(3.0), "y": np.int64(4)})


def test_reads_a_memmap_as_a_plain_array(tmp_path):
    values = np.memmap(tmp_path / "raw", np.float32, "w+", shape=(4, 5))
    values[:] = 2
    np.save(tmp_path / "d.npy", {"embeddings": values})
    read = mabe.load_dictionary(tmp_path / "d.npy")["embeddings"]
    assert type(read) is np.ndarray
    assert_same(read, np.full((4, 5), 2, np.float32))


@pytest.mark.parametrize("memory_map", [False, True])
@pytest.mark.parametrize("writer", [np.save, mabe.save_dictionary])
def test_round_trip_through_files(tmp_path, writer, memory_map):
    wanted = everything()
    writer(tmp_path / "d.npy", wanted)
    assert_same(mabe.load_dictionary(tmp_path / "d.npy", memory_map=memory_map), wanted)


def test_plain_numpy_reads_what_we_write_and_may_change_it(tmp_path):
    wanted = everything()
    wanted["read-only"] = np.arange(9.0)
    wanted["read-only"].flags.writeable = False
    mabe.save_dictionary(tmp_path / "d.npy", wanted)
    read = np.load(tmp_path / "d.npy", allow_pickle=True).item()
    assert_same(read, wanted)
    for key in ("embeddings", "fortran", "read-only"):
        assert read[key].flags.writeable


def test_what_we_write_names_nothing_that_old_numpy_lacks(tmp_path):
    mabe.save_dictionary(tmp_path / "d.npy", {"embeddings": np.ones((3, 2), np.float32)})
    inner = (tmp_path / "d.npy").read_bytes().split(b"embeddings")[1]
    assert b"_core" not in inner
    assert b"_reconstruct" not in inner


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int16, np.uint8, np.bool_, "<U3", "S4"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    st.integers(2, 5),
    st.booleans(),
)
def test_any_array_survives(array, protocol, fortran):
    array = np.asfortranarray(array) if fortran and array.ndim else array
    read = restricted_pickle.load(io.BytesIO(pickle.dumps([array], protocol)))
    assert_same(read[0], array)


def test_mapped_arrays_stay_on_the_disk_and_loaded_ones_are_ours(tmp_path):
    np.save(tmp_path / "d.npy", {"embeddings": np.ones((50_000, 4), np.float32)})
    mapped = mabe.load_dictionary(tmp_path / "d.npy", memory_map=True)["embeddings"]
    base = mapped
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert type(base).__name__ == "mmap"
    assert not mapped.flags.writeable
    loaded = mabe.load_dictionary(tmp_path / "d.npy")["embeddings"]
    assert loaded.flags.writeable
    assert loaded.flags.aligned


# -- files from strangers ------------------------------------------------------------------------


class Runs:
    """Pickles into a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def assert_refused(data: bytes, match: str) -> None:
    with pytest.raises((ForbiddenGlobalError, DamagedPickleError), match=match):
        restricted_pickle.load(io.BytesIO(data))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(tmp_path, protocol):
    marker = tmp_path / "was_run"
    attack = {"embeddings": np.ones(3), "x": Runs(os.system, f"touch {marker}")}
    path = tmp_path / "evil.npy"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    path.write_bytes(header.getvalue() + pickle.dumps(attack, protocol))
    with pytest.raises(
        UserError, match=r"evil\.npy: refused, it wants posix\.system .*not"
    ) as error:
        mabe.load_dictionary(path)
    assert "\n" not in str(error.value)
    assert not marker.exists()
    pickle.loads(pickle.dumps(attack, protocol))  # the attack is a real one
    assert marker.exists()


def resident_megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile")) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux")
def test_the_memory_of_a_mapped_file_can_be_given_back(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 1_000_000))
    mabe.save_dictionary(tmp_path / "d.npy", {"x": values})
    mapped = mabe.load_dictionary(tmp_path / "d.npy", memory_map=True)["x"]
    total = mapped.sum()
    before = resident_megabytes()
    mabe.release_pages(mapped[1:, ::2])
    assert resident_megabytes() < before - 25
    assert mapped.sum() == total
    loaded = mabe.load_dictionary(tmp_path / "d.npy")["x"]
    mabe.release_pages(loaded)
    np.testing.assert_array_equal(loaded, values)


def test_changes_of_a_writeable_map_are_never_thrown_away(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(10_000))
    private = np.load(tmp_path / "x.npy", mmap_mode="c")
    private[:] = 3
    mabe.release_pages(private)
    locked = private.view(np.ndarray)[5:]
    locked.flags.writeable = False
    mabe.release_pages(locked)
    assert (private == 3).all()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Runs(eval, "1+1"), r"builtins\.eval"),
        (Runs(getattr, "x", "upper"), r"builtins\.getattr"),
        (Runs(np.load, "x"), r"numpy\.load"),
        (Runs(np.fromfile, "/etc/passwd"), r"numpy.*fromfile"),
        (Runs(collections.Counter, [1]), r"collections\.Counter"),
        (Runs(bytes, 10**15), "int found"),
        (Runs(bytearray, 10**15), "int found"),
        (Runs(int, "9" * 99), r"builtins\.int \(called\)"),
        (Runs(set, "abc"), "str found"),
        (Runs(np.ndarray, (2**62,), np.dtype("u1"), b"abc"), "do not fit"),
        (Runs(np.ndarray, (1,), np.dtype("u1"), b"abc", 2), "offset"),
        (Runs(np.ndarray, (1, -1), np.dtype("u1"), b""), "shape"),
        (Runs(np.ndarray, (2**62,), np.dtype("u1")), "not complete"),
    ],
)
def test_calls_that_are_not_plain_arrays_are_refused(call, name):
    assert_refused(pickle.dumps({"x": [call]}, 4), name)


def array_pickle(shape, dtype_text, dtype_state, data) -> bytes:
    """An array written by hand, so that its parts may lie."""

    class Dtype:
        def __reduce__(self):
            return np.dtype, (dtype_text, False, True), dtype_state

    class Array:
        def __reduce__(self):
            reconstruct = np.ones(1).__reduce__()[0]
            return reconstruct, (np.ndarray, (0,), b"b"), (1, shape, Dtype(), False, data)

    # The pure-Python pickler accepts a state without looking at it.
    buffer = io.BytesIO()
    pickle._Pickler(buffer, 4).dump(Array())
    return buffer.getvalue()


PLAIN = (3, "<", None, None, None, -1, -1, 0)


@pytest.mark.parametrize(
    ("shape", "dtype", "state", "data", "match"),
    [
        ((2**40, 2**40), "f4", PLAIN, b"1234", "do not fit"),
        ((2,), "f4", PLAIN, b"1234", "do not fit"),
        ((-1,), "f4", PLAIN, b"", "shape"),
        ((2**62,), "V0", (3, "|", None, None, None, 0, 1, 0), b"", "do not fit"),
        ((1,), "O8", (3, "|", None, None, None, -1, -1, 63), b"12345678", "bytes found"),
        ((2,), "O8", (3, "|", None, None, None, -1, -1, 63), [1], "do not fit"),
        ((1,), "f4", (3, "<", (np.dtype("f4"), (2,)), None, None, 8, 1, 0), b"12345678", "plain"),
        (
            (1,),
            "V4",
            (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 63),
            b"12345678",
            "objects inside",
        ),
        (
            (1,),
            "V4",
            (3, "|", None, ("a",), {"a": (np.dtype("f8"), 4000)}, 4, 1, 16),
            b"1234",
            "size|range",
        ),
        (("2",), "f4", PLAIN, b"1234", "str found"),
        ((1,), "M8", PLAIN, b"12345678", "not a plain one"),
        ((1,), "f4,O", PLAIN, b"1234", "not a plain one"),
    ],
)
def test_arrays_whose_parts_lie_are_refused(shape, dtype, state, data, match):
    assert_refused(array_pickle(shape, dtype, state, data), match)


def test_hand_made_arrays_are_read_when_their_parts_agree():
    read = restricted_pickle.load(io.BytesIO(array_pickle((1,), "f4", PLAIN, struct.pack("<f", 2))))
    assert_same(read, np.array([2], np.float32))


def test_objects_inside_object_arrays_must_be_plain_too():
    attack = np.array([1, Runs(eval, "1")], dtype=object)
    assert_refused(pickle.dumps(attack, 4), r"builtins\.eval")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 2**50) + b"x.",  # announces a petabyte
        b"\x80\x04\x8a\xff.",
        b"\x80\x04}(K\x01u.",  # a key without a value
        b"\x80\x04}" + b")" + b"\x85" * 10**6 + b"Ns.",  # hashing this would crash Python
        b"\x80\x04K\x01a.",
        b"\x80\x04.",
        b"\x80\x04h\x05.",
        b"\x80\x04K\x01\x85R.",
        b"\x80\x04K\x01}b.",
        b"\x80\x04]}]s.",
        b"\x80\x04Pabc\n.",
        b"\x80\x04\x82\x01.",
        b"garbage",
        b"",
    ],
)
def test_malformed_pickles_are_called_damaged(data):
    with pytest.raises(DamagedPickleError):
        restricted_pickle.load(io.BytesIO(data))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_change_of_bytes_does_more_than_be_refused(data):
    original = pickle.dumps(
        {"a": np.arange(4.0), "b": [1, "x", (2, None)]}, data.draw(st.integers(2, 5))
    )
    position = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ForbiddenGlobalError, DamagedPickleError):
        restricted_pickle.load(io.BytesIO(bytes(changed)))


def test_errors_name_the_file_and_the_remedy(tmp_path):
    good = tmp_path / "good.npy"
    np.save(good, {"embeddings": np.ones((50_000, 4), np.float32)})
    content = good.read_bytes()
    cases = {
        "empty.npy": (b"", "is empty"),
        "text.npy": (b"hello, this is text", "not an npy file"),
        "header.npy": (content[:40], "damaged npy header"),
        "cut.npy": (content[: len(content) // 2], "truncated or damaged"),
        "tail.npy": (content[:-2], "truncated or damaged"),
    }
    for name, (data, match) in cases.items():
        (tmp_path / name).write_bytes(data)
        for memory_map in (False, True):
            with pytest.raises(UserError, match=match) as error:
                mabe.load_dictionary(tmp_path / name, memory_map=memory_map)
            assert name in str(error.value)
            assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no such"):
        mabe.load_dictionary(tmp_path / "absent.npy")
    with pytest.raises(UserError, match="this is a folder"):
        mabe.load_dictionary(tmp_path)
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(UserError, match=r"array\.npy: holds an array \(3,\) of type '<f8'"):
        mabe.load_dictionary(tmp_path / "array.npy")
    np.save(tmp_path / "list.npy", np.array([1, None], dtype=object))
    with pytest.raises(UserError, match="expected a dictionary"):
        mabe.load_dictionary(tmp_path / "list.npy")


def test_the_caller_may_say_what_was_expected(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    mabe.save_dictionary(tmp_path / "d.npy", {})
    (tmp_path / "list.pickle").write_bytes(pickle.dumps([1]))
    for name, found in (("x.npy", "array"), ("list.pickle", "a list")):
        with pytest.raises(UserError, match=f"holds .*{found}.*, expected labels of mice"):
            mabe.load_dictionary(tmp_path / name, what="labels of mice")


def test_a_bare_pickle_is_read_too(tmp_path):
    (tmp_path / "labels.pickle").write_bytes(pickle.dumps({"vocabulary": ["a"]}))
    assert mabe.load_dictionary(tmp_path / "labels.pickle") == {"vocabulary": ["a"]}


# -- layouts -------------------------------------------------------------------------------------


def test_both_pose_layouts_are_walked_in_file_order(tmp_path):
    arrays = {"z": np.ones((3, 1, 2, 3), np.float32), "a": np.zeros((2, 1, 2, 3), np.float32)}
    mabe.save_dictionary(tmp_path / "shot.npy", {"sequences": {"keypoints": arrays}})
    mice = {name: {"keypoints": array, "annotations": None} for name, array in arrays.items()}
    mabe.save_dictionary(tmp_path / "mice.npy", {"sequences": mice})
    for file in ("shot.npy", "mice.npy"):
        read = list(mabe.pose_sequences(tmp_path / file))
        assert [name for name, _ in read] == ["z", "a"]
        assert_same(dict(read), arrays)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"sequence": {}}, "no key 'sequences'; did you mean 'sequence'"),
        ({"sequences": [1]}, "is a list"),
        ({"sequences": {"a": {"keypoint": 1}}}, "sequence 'a': no key 'keypoints'"),
        ({"sequences": {"a": np.ones(3)}}, "sequence 'a'"),
        ({"sequences": {"keypoints": {"a": "x"}}}, "key points of 'a' are a str"),
    ],
)
def test_unknown_pose_layouts_say_what_was_found(tmp_path, content, match):
    mabe.save_dictionary(tmp_path / "d.npy", content)
    with pytest.raises(UserError, match=match):
        list(mabe.pose_sequences(tmp_path / "d.npy"))


def test_submission(tmp_path):
    embeddings = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    frames = {"a": (0, np.int64(2)), "b": [2, 5]}
    mabe.save_dictionary(tmp_path / "s.npy", {"frame_number_map": frames, "embeddings": embeddings})
    ranges, read = mabe.load_submission(tmp_path / "s.npy")
    assert ranges == {"a": (0, 2), "b": (2, 5)}
    assert_same(read, embeddings)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"embeddings": np.ones(3, np.float32)}, r"'embeddings' is an array \(3,\)"),
        ({"embeddings": np.ones((3, 2), int)}, "expected floats"),
        ({"frame_number_map": {"a": 3}}, "clip 'a' has the frame range 3"),
        ({"frame_number_map": {"a": (0, 9)}}, r"frames \[0, 9\) but there are 3 rows"),
        ({"frame_number_map": [1]}, "is a list"),
        ({"frame_number_map": {"a": (0, 1, 2)}}, r"the frame range \(0, 1, 2\)"),
    ],
)
def test_submission_errors(tmp_path, change, match):
    good = {"frame_number_map": {"a": (0, 3)}, "embeddings": np.ones((3, 2), np.float32)}
    mabe.save_dictionary(tmp_path / "s.npy", good | change)
    with pytest.raises(UserError, match=match):
        mabe.load_submission(tmp_path / "s.npy")

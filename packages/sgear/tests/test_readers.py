"""Clips of features and videos: the right records, and only those."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from behaviorzoo.errors import UserError
from behaviorzoo.video.writing import write_video
from sgear.data.config import ReaderConfig
from sgear.data.readers import BrokenClipError, FeatureReader, open_reader
from sgear.data.readers.array_features import ArrayFeatures
from sgear.data.readers.features import video_name
from sgear.data.readers.hdf5_features import Hdf5Features, write_hdf5
from sgear.data.readers.lmdb_features import LmdbFeatures, write_lmdb
from sgear.data.readers.video import VideoClipReader
from sgear.data.sampling import Draws, Sampling

LAST = Sampling(5, 2.0, "last_clip")
"""5 frames, half a second (15 stored frames) apart."""


def features(n: int = 300, missing: tuple[int, ...] = ()) -> np.ndarray:
    """Row of frame f: [f, -f, 1]; NaN where the frame is missing."""
    f = np.arange(1, n + 1, dtype=np.float32)
    x = np.stack([f, -f, np.ones(n, np.float32)], axis=1)
    x[[frame - 1 for frame in missing]] = np.nan
    return x


def numbers(clip) -> list[int]:
    return clip.frames[:, 0, 0, 0].astype(int).tolist()


def read(store, start=2.0, end=8.0, how=LAST, **keys):
    return FeatureReader([store], **keys).read("P01/P01_01.MP4", start, end, how, Draws(0))


@pytest.fixture
def lmdb_store(tmp_path):
    write_lmdb(tmp_path / "rgb", {"P01_01": features(missing=(240, 225, 224))})
    return LmdbFeatures(tmp_path / "rgb")


# -- features -------------------------------------------------------------------------------------


def test_all_kinds_of_stores_give_the_same_clip(tmp_path):
    x = features()
    write_lmdb(tmp_path / "lmdb", {"P01_01": x})
    write_hdf5(tmp_path / "f.h5", {"P01/P01_01": x})
    for kind in ("npy", "text"):
        (tmp_path / kind).mkdir()
    np.save(tmp_path / "npy" / "P01_01.npy", x.T)
    np.savetxt(tmp_path / "text" / "P01_01.gz", x)
    stores = {
        "lmdb": LmdbFeatures(tmp_path / "lmdb"),
        "hdf5": Hdf5Features(tmp_path / "f.h5"),
        "npy": ArrayFeatures(tmp_path / "npy", "npy"),
        "text": ArrayFeatures(tmp_path / "text", "text"),
    }
    for name, store in stores.items():
        clip = read(store)
        assert numbers(clip) == [180, 195, 210, 225, 240], name
        assert clip.frames.dtype == np.float32
        assert clip.frames.shape == (5, 1, 1, 3)
        assert clip.n_missing == 0
        assert store.has("P01_01")
        assert not store.has("P01_02")
        assert not store.has("P01_0")
        again = pickle.loads(pickle.dumps(store))
        assert numbers(read(again)) == numbers(clip)


def test_hdf5_says_its_own_rate_and_may_be_half_precision(tmp_path):
    write_hdf5(tmp_path / "f.h5", {"P01_01": features()}, fps=10.0, dtype="float16")
    store = Hdf5Features(tmp_path / "f.h5")
    assert store.fps == 10.0
    assert numbers(read(store)) == [60, 65, 70, 75, 80]


def test_only_the_frames_of_the_clip_are_read(lmdb_store, monkeypatch):
    asked: list[int] = []
    records = lmdb_store.records
    monkeypatch.setattr(lmdb_store, "records", lambda v, f: asked.extend(f) or records(v, f))
    read(lmdb_store, end=7.0, start=1.0)
    assert asked == [150, 165, 180, 195, 210]


def test_a_missing_frame_is_replaced_by_one_before_it(lmdb_store):
    clip = read(lmdb_store)
    assert numbers(clip) == [180, 195, 210, 223, 239]
    assert clip.n_missing == 0


def test_look_back_ends_in_zeros_that_are_counted(tmp_path):
    write_lmdb(tmp_path / "rgb", {"P01_01": features(missing=tuple(range(216, 226)))})
    store = LmdbFeatures(tmp_path / "rgb")
    clip = read(store)
    assert numbers(clip) == [180, 195, 210, 0, 240]
    assert not clip.frames[3].any()
    assert clip.n_missing == 1
    # one frame further back is still reached
    assert numbers(read(store, look_back=10)) == [180, 195, 210, 215, 240]


def test_zeros_only_where_the_segment_has_features_at_all(tmp_path):
    wanted = {180, 195, 210, 225, 240}
    gone = {frame - back for frame in wanted for back in range(10)}
    write_lmdb(tmp_path / "a", {"P01_01": features(missing=tuple(sorted(gone)))})
    clip = read(LmdbFeatures(tmp_path / "a"))
    assert clip.n_missing == 5
    write_lmdb(tmp_path / "b", {"P01_01": features(missing=tuple(range(31, 301)))})
    with pytest.raises(BrokenClipError, match="none of the frames 166 to 240 is in"):
        read(LmdbFeatures(tmp_path / "b"))


def test_a_clip_before_the_first_frame_is_broken(lmdb_store):
    with pytest.raises(BrokenClipError, match="no frame between"):
        read(lmdb_store, start=-3.0, end=0.01)


def test_a_short_segment_repeats_its_first_frame(lmdb_store):
    assert numbers(read(lmdb_store, start=0.0, end=1.2)) == [6, 6, 6, 21, 36]


def test_exact_rulstm(lmdb_store):
    how = Sampling(11, None, "last_clip")
    clip = read(lmdb_store, end=7.0, start=1.0, how=how, read_type="exact_rulstm")
    assert numbers(clip) == [135, 142, 150, 157, 165, 172, 180, 187, 195, 202, 210]


def test_stores_are_joined_along_the_channels(tmp_path):
    write_lmdb(tmp_path / "rgb", {"P01_01": features()})
    write_lmdb(tmp_path / "flow", {"P01_01": features()[:, :2] * 10})
    config = ReaderConfig(kind="lmdb", path=[str(tmp_path / "rgb"), str(tmp_path / "flow")])
    reader = open_reader(config, [])
    clip = reader.read("P01/P01_01.MP4", 2.0, 8.0, LAST, Draws(0))
    assert clip.frames[0].ravel().tolist() == [180, -180, 1, 1800, -1800]


def test_one_environment_for_training_and_evaluation(tmp_path):
    write_lmdb(tmp_path / "rgb", {"P01_01": features()})
    (tmp_path / "link").symlink_to(tmp_path / "rgb")
    stores = [LmdbFeatures(tmp_path / name) for name in ("rgb", "rgb", "link")]
    assert len({id(store._environment) for store in stores}) == 1
    assert all(numbers(read(store))[-1] == 240 for store in stores)


def test_lmdb_in_a_single_file_with_other_keys(tmp_path):
    key = "{video}/{frame:05d}"
    write_lmdb(tmp_path / "folder", {"P01_01": features()}, key)
    (tmp_path / "folder" / "data.mdb").rename(tmp_path / "one.mdb")
    assert numbers(read(LmdbFeatures(tmp_path / "one.mdb", 30.0, key)))[-1] == 240


def test_records_of_different_lengths_are_named(tmp_path):
    import lmdb

    environment = lmdb.open(str(tmp_path / "x"), map_size=1 << 20)
    with environment, environment.begin(write=True) as transaction:
        for frame, n in ((180, 3), (195, 3), (210, 4), (225, 3), (240, 3)):
            key = f"P01_01_frame_{frame:010d}.jpg".encode()
            transaction.put(key, np.zeros(n, np.float32).tobytes())
    with pytest.raises(BrokenClipError, match=r"P01_01: records of \[3, 4\] numbers"):
        read(LmdbFeatures(tmp_path / "x"))


def test_places_without_features_are_named(tmp_path):
    (tmp_path / "text.h5").write_text("no")
    (tmp_path / "data.mdb").write_text("no")
    for make, message in (
        (lambda: LmdbFeatures(tmp_path / "nowhere"), r"nowhere: no LMDB features here"),
        (lambda: LmdbFeatures(tmp_path), "not an LMDB file"),
        (lambda: Hdf5Features(tmp_path / "text.h5"), "not an HDF5 file"),
        (lambda: ArrayFeatures(tmp_path / "nowhere", "npy"), "no such folder of features"),
    ):
        with pytest.raises(UserError, match=message):
            make()


@pytest.mark.parametrize(
    ("video", "name"),
    [("P01/P01_01.MP4", "P01_01"), ("OP01-R01.mp4", "OP01-R01"), ("plain", "plain")],
)
def test_names_of_videos(video, name):
    assert video_name(video) == name


def test_videos_of_the_same_name_have_features_of_their_own(tmp_path):
    """Of ``a/monday.mp4`` and ``b/monday.mp4``: in folders, or with the folder in the name."""
    rows = {"a": features(), "b": features() + 1000}
    (tmp_path / "npy" / "b").mkdir(parents=True)
    np.save(tmp_path / "npy" / "a_monday.npy", rows["a"].T)
    np.save(tmp_path / "npy" / "b" / "monday.npy", rows["b"].T)
    write_hdf5(tmp_path / "f.h5", {f"{name}/monday": rows[name] for name in "ab"})
    write_lmdb(tmp_path / "lmdb", {f"{name}_monday": rows[name] for name in "ab"})
    stores = [
        ArrayFeatures(tmp_path / "npy", "npy"),
        Hdf5Features(tmp_path / "f.h5"),
        LmdbFeatures(tmp_path / "lmdb"),
    ]
    for store in stores:
        reader = FeatureReader([store])
        assert reader.missing(["a/monday.mp4", "b/monday.mp4", "c/monday.mp4"]) == ["c/monday.mp4"]
        first, second = (reader.read(f"{x}/monday.mp4", 2.0, 8.0, LAST, Draws(0)) for x in "ab")
        np.testing.assert_array_equal(second.frames, first.frames + 1000)


def test_features_that_may_be_of_two_videos_are_refused(tmp_path):
    np.save(tmp_path / "monday.npy", features().T)
    reader = FeatureReader([ArrayFeatures(tmp_path, "npy")])
    assert reader.missing(["a/monday.mp4", "a/monday.mp4"]) == []
    with pytest.raises(UserError, match=r"'monday' may be of a/monday.mp4 or of b/monday.mp4"):
        reader.missing(["a/monday.mp4", "b/monday.mp4"])


# -- videos ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory):
    """A video of 3 s at 10 frames per second; frame i has the grey level 8 i."""
    root = tmp_path_factory.mktemp("videos")
    frames = np.repeat(np.arange(30, dtype=np.uint8) * 8, 64 * 48 * 3).reshape(30, 48, 64, 3)
    (root / "P01").mkdir()
    write_video(root / "P01" / "P01_01.MP4", frames, 10.0)
    return root


def levels(clip) -> list[int]:
    return np.round(clip.frames.reshape(len(clip.frames), -1).mean(1) / 8).astype(int).tolist()


def test_frames_of_a_video(kitchen):
    reader = VideoClipReader(["/nowhere", kitchen])
    clip = reader.read("P01/P01_01.MP4", -1.0, 2.0, Sampling(5, 2.0, "last_clip"), Draws(0))
    assert clip.frames.shape == (5, 48, 64, 3)
    assert clip.frames.dtype == np.uint8
    # 0 to 2 s hold frames 0 to 20; every fifth, counted from the end
    assert levels(clip) == [0, 5, 10, 15, 20]
    np.testing.assert_allclose(clip.times, [0, 0.5, 1, 1.5, 2])


def test_a_clip_ends_before_the_action(kitchen):
    """1 s before an action at 2.5 s nothing behind 1.5 s is seen."""
    clip = VideoClipReader([kitchen]).read(
        "P01/P01_01.MP4", 0.5, 1.5, Sampling(11, 10.0, "last_clip"), Draws(0)
    )
    assert levels(clip)[-1] == 15
    assert clip.times[-1] == 1.5


def test_real_times_are_those_of_the_video(kitchen):
    how = Sampling(4, 10.0, "last_clip")
    reader = VideoClipReader([kitchen], compat="corrected")
    clip = reader.read("P01/P01_01.MP4", 0.0, 1.55, how, Draws(0))
    np.testing.assert_allclose(clip.times, np.array(levels(clip)) / 10)
    upstream = VideoClipReader([kitchen]).read("P01/P01_01.MP4", 0.0, 1.55, how, Draws(0))
    assert levels(upstream) == levels(clip) == [12, 13, 14, 15]
    assert upstream.times[-1] == 1.5


@pytest.mark.parametrize(
    ("video", "start", "message"),
    [
        ("P01/P01_01.MP4", 7.0, r"P01_01\.MP4: no frame between .* it lasts 3\.000 s"),
        ("P01/P01_02.MP4", 0.0, r"P01/P01_02\.MP4: no such video in "),
        ("P01/broken.MP4", 0.0, r"broken\.MP4"),
    ],
)
def test_clips_that_cannot_be_had(kitchen, video, start, message):
    (kitchen / "P01" / "broken.MP4").write_bytes(b"no video")
    reader = VideoClipReader([kitchen])
    with pytest.raises(BrokenClipError, match=message):
        reader.read(video, start, start + 1, Sampling(4, 10.0, "last_clip"), Draws(0))

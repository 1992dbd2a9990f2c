"""What is published is known by name; nothing is claimed that no publisher states."""

from __future__ import annotations

import pytest

from behaviorzoo.errors import UserError
from hbehavemae import download
from hbehavemae.registry import REGISTRY


def test_the_three_published_models_have_their_addresses():
    addresses = {file.name: file.url for file in REGISTRY.find(["weights"])}
    record = "https://zenodo.org/records/13790191/files/"
    assert addresses == {
        name: f"{record}{name}?download=1"
        for name in (
            "hBehaveMAE_Shot7M2.pth",
            "hBehaveMAE_hBABEL.pth",
            "hBehaveMAE_MABe22.pth",
        )
    }


def test_the_data_sets_are_complete():
    names = {file.name for file in REGISTRY.find(["shot7m2", "mabe22"])}
    assert names == {
        "Shot7M2/train/train_dictionary_poses.npy",
        "Shot7M2/train/train_dictionary_actions.npy",
        "Shot7M2/test/test_dictionary_poses.npy",
        "Shot7M2/test/test_dictionary_actions.npy",
        "Shot7M2/test/benchmark_labels.npy",
        "MABe22/mouse_triplet_train.npy",
        "MABe22/mouse_triplet_test.npy",
        "MABe22/mouse_triplets_test_labels.npy",
    }
    assert {file.licence for file in REGISTRY.find(["shot7m2"])} == {"ecl-2.0"}


def test_no_hash_and_no_exact_size_is_made_up():
    # All of them are asked of the publishers: none is printed in the paper or the repository.
    for file in REGISTRY.files:
        assert file.hash is None
        assert file.size is None
        assert file.record is not None
        assert file.record.startswith("https://")


def test_hbabel_says_what_to_do_by_hand(tmp_path):
    with pytest.raises(UserError, match=r"hbabel cannot be downloaded by a program:\n1\. Register"):
        download.fetch(["hbabel"], tmp_path)


def test_an_unknown_name_gets_the_nearest(tmp_path):
    with pytest.raises(UserError, match=r"did you mean 'hBehaveMAE_MABe22\.pth'"):
        download.fetch(["hBehaveMAE_MABE22.pth"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_each_file_goes_to_its_folder(tmp_path, monkeypatch):
    asked = []

    def no_network(file, out, progress):
        asked.append((file.name, out))
        return out / file.name

    monkeypatch.setattr(download, "download", no_network)
    paths = download.fetch(["mabe22", "hBehaveMAE_MABe22.pth"], tmp_path, progress=False)
    assert paths[0] == tmp_path / "MABe22" / "mouse_triplet_train.npy"
    assert paths[-1] == tmp_path / "hBehaveMAE_MABe22.pth"
    assert len(asked) == 4

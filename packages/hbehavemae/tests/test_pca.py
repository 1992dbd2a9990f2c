from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from behaviorzoo.errors import UserError
from hbehavemae.pca import BLOCK_ROWS, Moments, fit, fit_upstream, rechunk


def low_rank(rows: int, features: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(rows, 8)) * 2.0 ** -np.arange(8)
    mixed = latent @ rng.normal(size=(8, features)) + 0.01 * rng.normal(size=(rows, features))
    return (mixed + rng.normal(size=features) * 3).astype(np.float32)


def slow_components(x: np.ndarray, k: int) -> np.ndarray:
    """Right singular vectors of the centred data, largest entry positive."""
    _, _, vectors = np.linalg.svd(x.astype(np.float64) - x.mean(0, dtype=np.float64))
    signs = [np.sign(v[np.argmax(np.abs(v))]) for v in vectors[:k]]
    return vectors[:k] * np.array(signs)[:, None]


@settings(max_examples=25, deadline=None)
@given(st.integers(12, 80), st.integers(8, 20), st.integers(1, 6), st.integers(1, 30))
def test_equals_singular_vectors_for_any_blocks(
    rows: int, features: int, k: int, block: int
) -> None:
    x = low_rank(rows, features, seed=rows)
    blocks = [x[i : i + block] for i in range(0, rows, block)]
    projection = fit(blocks, rows, features, k, "level_1")
    np.testing.assert_allclose(projection.components, slow_components(x, k), atol=1e-5)
    np.testing.assert_allclose(projection(x), (x - x.mean(0)) @ slow_components(x, k).T, atol=2e-4)


def test_equals_scikit_learn_with_its_signs() -> None:
    x = low_rank(500, 40)
    model = PCA(5, svd_solver="full").fit(x)
    ours = fit([x], len(x), 40, 5, "level_1")
    np.testing.assert_allclose(ours(x), model.transform(x), atol=1e-4)
    np.testing.assert_allclose(ours.variance, model.explained_variance_, rtol=1e-4)
    assert ours.explained == pytest.approx(model.explained_variance_ratio_.sum(), rel=1e-5)


def test_fast_products_give_the_same_components() -> None:
    x = low_rank(3 * BLOCK_ROWS, 60)
    exact, fast = Moments(60, exact=True), Moments(60, exact=False)
    exact.add(x)
    fast.add(x)
    np.testing.assert_allclose(
        fast.components(6).components, exact.components(6).components, atol=1e-4
    )


def test_a_large_offset_costs_no_precision() -> None:
    x = low_rank(400, 12)
    moved = x.astype(np.float64) + 1e6
    plain = fit([x], 400, 12, 4, "level_1")
    shifted = fit([moved[:100], moved[100:]], 400, 12, 4, "level_1")
    np.testing.assert_allclose(shifted.components, plain.components, atol=1e-6)


@pytest.mark.parametrize("features", [20, 120])
def test_upstream_rules_agree_up_to_sign(features: int) -> None:
    x = low_rank(300, features)
    ours = fit([x], 300, features, 6, "level_1")(x)
    theirs = fit_upstream([x[:200], x[200:]], 300, features, 6, "level_1")(x)
    signs = np.sign((ours * theirs).sum(0))
    np.testing.assert_allclose(theirs * signs, ours, atol=2e-3)


def test_too_few_frames_and_missing_values_are_named() -> None:
    x = low_rank(10, 20)
    with pytest.raises(UserError, match=r"level_2: 10 frames are too few for 16 .* pca=10"):
        fit([x], 10, 20, 16, "level_2")
    with pytest.raises(UserError, match="too few for 16"):
        fit_upstream([x], 10, 20, 16, "level_2")
    x[3, 4] = np.nan
    with pytest.raises(UserError, match="level_2: embeddings with missing values"):
        fit([x], 10, 20, 3, "level_2")


def test_last_chunk_of_incremental_pca_must_hold_the_components(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hbehavemae.pca.UPSTREAM_CHUNK", 50)
    x = low_rank(104, 110)
    with pytest.raises(UserError, match=r"last chunk of 4 frames for 6 components; .*compat=none"):
        fit_upstream([x], 104, 110, 6, "level_1")
    assert fit_upstream([x[:100]], 100, 110, 6, "level_1").components.shape == (6, 110)


@given(st.lists(st.integers(0, 7), max_size=8), st.integers(1, 6))
def test_rechunking_keeps_rows_and_order(sizes: list[int], size: int) -> None:
    rows = np.arange(sum(sizes))
    blocks = np.split(rows, np.cumsum(sizes)[:-1]) if sizes else []
    chunks = list(rechunk(blocks, size))
    assert [len(chunk) for chunk in chunks[:-1]] == [size] * max(len(chunks) - 1, 0)
    assert np.concatenate([rows[:0], *chunks]).tolist() == rows.tolist()

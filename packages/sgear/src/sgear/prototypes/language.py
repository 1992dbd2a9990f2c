"""Encodings of the class names by a sentence encoder, and how similar they are.

The similarities are what the semantic loss wants the network to respect (Eq. of L_sem in the
paper); the encodings are the first prototypes, before there are visual ones.

Letters: N classes, C features of the encoder.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from behaviorzoo.errors import UserError
from sgear.prototypes import DEFAULT_MODEL
from sgear.prototypes.files import ClassVectors, write_similarities, write_vectors
from sgear.prototypes.prompts import Prompt, file_ending, read_prompts

COSINE_EPS = 1e-8

Encoder = Callable[[Sequence[str]], Tensor]
"""N texts -> float32 (N, C)."""


@dataclass(frozen=True)
class LanguagePrototypes:
    """What language says of the classes.

    Attributes:
        encodings: A vector of each class, in the order of the file of labels.
        similarities: float32 (N, N), cosine of each class with all, the same order.
        prompts: Class id -> words.
    """

    encodings: ClassVectors
    similarities: Tensor
    prompts: dict[int, Prompt]


def language_prototypes(
    label_file: str | Path,
    dataset: str,
    *,
    model: str | Path = DEFAULT_MODEL,
    compat: str = "corrected",
    encoder: Encoder | None = None,
    batch_size: int = 1,
) -> LanguagePrototypes:
    """Encode the classes of a data set.

    Args:
        label_file: See :func:`sgear.prototypes.prompts.read_prompts`.
        dataset: ``epic100``, ``epic55``, ``egtea``, ``50salads`` or ``own``.
        model: Name of a sentence-transformers model, or a folder with one.
        compat: See :func:`sgear.prototypes.prompts.read_prompts`.
        encoder: Used in place of ``model``.
        batch_size: Texts at a time. One, as in the original, gives its digits; more is faster and
            differs in the last ones.

    Raises:
        UserError: Labels that cannot be read, or a model that cannot be had.
    """
    prompts = read_prompts(label_file, dataset, compat)
    encode = sentence_encoder(model, batch_size) if encoder is None else encoder
    vectors = encode([prompt.text for prompt in prompts.values()]).float()
    about: dict[str, Any] = {
        "kind": "language",
        "dataset": dataset,
        "model": Path(model).name if encoder is None else "",
        "prompts": {str(code): prompt.text for code, prompt in prompts.items()},
    }
    ids = np.array(list(prompts), dtype=np.int64)
    return LanguagePrototypes(
        ClassVectors(ids, vectors, about), cosine_similarities(vectors), prompts
    )


def cosine_similarities(vectors: Tensor) -> Tensor:
    """Cosine (N, N) of all rows of (N, C); norms below 1e-8 count as 1e-8."""
    unit = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(COSINE_EPS)
    return unit @ unit.T


def sentence_encoder(model: str | Path, batch_size: int = 1) -> Encoder:
    """An encoder of sentence-transformers, float32 on the CPU.

    A folder is read from the disk. A name is looked for among the models that are on this machine
    already, then downloaded.

    Args:
        model: Name or folder.
        batch_size: Texts at a time.

    Raises:
        UserError: The library is not installed, or the model cannot be had.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        raise UserError(
            "text prototypes need sentence-transformers: pip install 'behaviorzoo-sgear[language]'"
        )
    network = _load(model)

    def encode(texts: Sequence[str]) -> Tensor:
        found = network.encode(
            list(texts), batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False
        )
        return found.detach().float().cpu()

    return encode


def write_language(
    found: LanguagePrototypes, folder: str | Path, dataset: str, suffix: str = ".safetensors"
) -> list[Path]:
    """Write ``encodings_<dataset>`` and ``similarities_<dataset>`` (``own``: without a name).

    Raises:
        UserError: A file cannot be written.
    """
    folder, name = Path(folder), file_ending(dataset) + suffix
    encodings = folder / f"encodings{name}"
    similarities = folder / f"similarities{name}"
    about = {**found.encodings.about, "kind": "similarities"}
    return [
        write_vectors(encodings, found.encodings),
        write_similarities(similarities, found.encodings.ids, found.similarities, about),
    ]


def _load(model: str | Path) -> Any:
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _quietly(str(folder), local=True)
    if folder.is_absolute() or str(model).startswith((".", "~")):
        raise UserError(f"{model}: no such folder of a sentence-transformers model")
    try:
        return _quietly(str(model), local=True)
    except UserError:
        _reach_hub(str(model))
        return _quietly(str(model), local=False)


def _reach_hub(model: str) -> None:
    """Ask once for a model: without a network the loader would try every file for minutes."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(model if "/" in model else f"sentence-transformers/{model}", timeout=10)
    # What a missing network raises differs between versions; an answer of the hub is a response.
    except Exception as error:
        if getattr(error, "response", None) is None:
            raise _absent(model, error) from error


def _quietly(model: str, local: bool) -> Any:
    """Load without a token, without progress bars; every failure in one line."""
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return SentenceTransformer(model, device="cpu", local_files_only=local).float().eval()
    # The hub, its cache and the readers of models fail in many ways; all mean: not to be had.
    except Exception as error:
        if Path(model).is_dir():
            reason = _line(error)
            raise UserError(f"{model}: not a sentence-transformers model ({reason})") from error
        raise _absent(model, error) from error
    finally:
        if bars:
            logging.enable_progress_bar()


def _absent(model: str, error: Exception) -> UserError:
    return UserError(
        f"model {model!r} is not on this machine and cannot be downloaded ({_line(error)}); copy "
        "it here and give --model FOLDER"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]

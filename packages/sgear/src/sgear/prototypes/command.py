"""The verb ``sgear prototypes``: from language, or from what a network made of clips."""

from __future__ import annotations

from pathlib import Path

from behaviorzoo import commands
from behaviorzoo.errors import UserError, suggest
from sgear.prototypes import DEFAULT_MODEL

KINDS = ("language", "visual")
DATASETS = ("epic100", "epic55", "egtea", "50salads", "own")

ABOUT = """\
Make the prototypes of the classes.

  sgear prototypes language --help   encodings and similarities of the class names
  sgear prototypes visual --help     mean of what a trained network made of clips"""
EXAMPLE = """\
sgear prototypes language --dataset epic100 --label-file actions.csv
sgear prototypes visual --stored embeddings.pth --language encodings_epic100.pth --dataset epic100
sgear prototypes visual --run OUTPUTS/expts/ek100_SGEAR_vit_AR.txt/0 --dataset epic100"""


def command(words: list[str]) -> None:
    """Make prototypes.

    Args:
        words: What stands behind ``sgear prototypes``.

    Raises:
        UserError: Wrong options or files.
    """
    if words and words[0] in KINDS:
        (_language if words[0] == "language" else _visual)(words[1:])
        return
    parser = commands.verb_parser("sgear", "prototypes", ABOUT, EXAMPLE)
    parser.add_argument("kind", metavar="language|visual", help="where they come from")
    given, _ = parser.parse_known_args(words)
    raise UserError(f"sgear prototypes {given.kind}: {suggest(given.kind, KINDS)}")


def _language(words: list[str]) -> None:
    parser = commands.verb_parser(
        "sgear",
        "prototypes language",
        "Encode the name of every class (verb and noun) with a sentence encoder, and compare all\n"
        "with all. Works without a network when the model is a folder or was used before. The\n"
        "file of labels of own videos is the table of the training set.",
        "sgear prototypes language --dataset epic100 --label-file actions.csv\n"
        "sgear prototypes language --dataset own --label-file mine/annotations/train.csv\n"
        "    --out mine/prototypes\n"
        "sgear prototypes language --dataset 50salads --label-file mapping.txt --model ./minilm",
    )
    add = parser.add_argument
    add("--dataset", required=True, metavar="NAME", help=", ".join(DATASETS))
    add(
        "--label-file",
        required=True,
        type=Path,
        metavar="FILE",
        help="actions.csv, mapping.txt, train.csv",
    )
    add("--model", default=DEFAULT_MODEL, help=f"name or folder (default {DEFAULT_MODEL})")
    add("--compat", choices=["corrected", "upstream"], default="corrected",
        help="upstream: 50 Salads by the rules of EGTEA")  # fmt: skip
    add(
        "--batch-size",
        type=int,
        default=1,
        help="names at a time (default 1, the digits of the original)",
    )
    _add_target(parser)
    given = parser.parse_intermixed_args(words)
    if given.batch_size < 1:
        raise UserError(f"--batch-size {given.batch_size}: at least 1")

    from sgear.prototypes.language import language_prototypes, write_language

    found = language_prototypes(
        given.label_file,
        given.dataset,
        model=given.model,
        compat=given.compat,
        batch_size=given.batch_size,
    )
    number, width = found.encodings.vectors.shape
    first = ", ".join(repr(prompt.text) for prompt in list(found.prompts.values())[:3])
    print(f"{number} classes, {width} features; {first} ...")
    for path in write_language(found, given.out, given.dataset, _suffix(given.format)):
        print(path)


def _visual(words: list[str]) -> None:
    parser = commands.verb_parser(
        "sgear",
        "prototypes visual",
        "Mean of up to 20 outputs of a network trained for recognition, per class. The outputs\n"
        "are those that `sgear test` stored (eval.eval_fn.store_embeddings=true), or they are\n"
        "computed here from a run. A class without a clip gets its language encoding.",
        "sgear prototypes visual --run OUTPUTS/expts/ek100_SGEAR_vit_AR.txt/0 --dataset epic100\n"
        "sgear prototypes visual --stored embeddings.pth --language encodings_epic100.pth",
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--stored", type=Path, metavar="FILE", help="stored embeddings")
    source.add_argument("--run", type=Path, metavar="DIR", help="run folder of a recognition run")
    add("--language", type=Path, metavar="FILE", help="encodings for classes without a clip")
    add("--dataset", default="", metavar="NAME", help="for the file's name: visual_encodings_NAME")
    add("--capacity", type=int, default=20, help="outputs per class, with --run (default 20)")
    add("--checkpoint", type=Path, metavar="FILE", help="with --run: another than checkpoint.pth")
    add(
        "--set",
        default="dataset_train",
        metavar="KEY",
        help="with --run: whose clips (dataset_train)",
    )
    add("words", nargs="*", metavar="key=value", help="with --run: settings that differ")
    _add_target(parser)
    given = parser.parse_intermixed_args(words)

    from sgear.prototypes.files import read_stored, read_vectors, write_vectors
    from sgear.prototypes.prompts import file_ending
    from sgear.prototypes.visual import visual_prototypes

    names = None
    if given.stored is not None:
        if given.words or given.checkpoint:
            raise UserError("--checkpoint and key=value words are for --run")
        stored = read_stored(given.stored)
        about = {"stored": given.stored.name}
        fallback = given.language
    else:
        from sgear.prototypes.from_run import collect

        collected = collect(given.run, given.words, given.checkpoint, given.capacity, given.set)
        for note in collected.notes:
            print(f"note: {note}")
        stored, names, about = collected.stored, collected.names, collected.about
        fallback = given.language or collected.language
    language = None if fallback is None else read_vectors(fallback)
    found = visual_prototypes(stored, language, names, about)
    for note in found.notes:
        print(f"note: {note}")
    number, width = found.vectors.vectors.shape
    print(f"{number} classes, {width} features, {int(found.counts.sum())} clips")
    out = given.out / f"visual_encodings{file_ending(given.dataset)}{_suffix(given.format)}"
    print(write_vectors(out, found.vectors))


def _add_target(parser: commands.CommandParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="target folder (here)"
    )
    parser.add_argument(
        "--format",
        choices=["safetensors", "pth"],
        default="safetensors",
        help="pth: the authors' layout",
    )


def _suffix(name: str) -> str:
    return f".{name}"

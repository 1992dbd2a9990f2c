"""Commands made of verbs: what every package's command line does alike."""

from __future__ import annotations

import pytest

from behaviorzoo import commands
from behaviorzoo.errors import UserError


def _walk(words: list[str]) -> None:
    """Go somewhere.

    This line is not part of the overview.
    """
    parser = commands.verb_parser("legs", "walk", "Go\nsomewhere.", "legs walk home\nlegs walk on")
    parser.add_argument("where")
    print("walking", parser.parse_args(words).where)


def _learn(words: list[str]) -> None:
    """Learn to walk."""
    parser = commands.training_parser("legs", "learn", "Learn.", "legs learn speed=3")
    given = parser.parse_intermixed_args(words)
    print(given.words, given.resume, given.dry_run, given.help_config)


def _stop(words: list[str]) -> None:
    """Stop."""
    raise {"mistake": UserError("cannot"), "ctrl-c": KeyboardInterrupt()}[words[0]]


VERBS: dict[str, commands.Verb] = {"walk": _walk, "learn": _learn, "stop": _stop}


def run(*words: str) -> int:
    return commands.run_verbs("legs", "1.2", "What legs are for.", VERBS, words)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_overview_lists_the_verbs(capsys, words):
    assert run(*words) == 0
    assert capsys.readouterr().out == (
        "usage: legs VERB ... | --help | --version\n\nWhat legs are for.\nverbs:\n"
        "  walk      Go somewhere.\n  learn     Learn to walk.\n  stop      Stop.\n\n"
        "Any verb runs on a cluster with launch=slurm; legs --help-launch\n"
    )


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == "legs 1.2\n"


def test_a_verb_may_give_the_exit_code(capsys):
    assert commands.run(lambda: 3) == 3
    assert commands.run(lambda: "text") == 0


def test_a_verb_gets_the_words_after_it(capsys):
    assert run("walk", "home") == 0
    assert capsys.readouterr().out == "walking home\n"


def test_help_of_a_verb_ends_with_its_examples(capsys):
    assert run("walk", "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: legs walk ")
    assert shown.endswith("example:\n  legs walk home\n  legs walk on\n")


def test_words_and_options_of_training_may_be_mixed(capsys):
    assert run("learn", "a=1", "--resume", "b=2") == 0
    assert capsys.readouterr().out == "['a=1', 'b=2'] True False False\n"


def test_the_words_of_the_process_are_the_default(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["legs", "walk", "away"])
    assert commands.run_verbs("legs", "1.2", "", VERBS) == 0
    assert capsys.readouterr().out == "walking away\n"


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["wlak"], 2, "error: no verb 'wlak'; did you mean 'walk'?\n"),
        (["learn", "--resum"], 2, "error: legs learn has no option '--resum'; did you mean "),
        (["walk"], 2, "error: legs walk: the following arguments are required: where; see legs "),
        (["stop", "mistake"], 2, "error: cannot\n"),
        (["stop", "ctrl-c"], 130, "interrupted\n"),
    ],
)
def test_mistakes_are_one_line(capsys, words, code, expected):
    assert run(*words) == code
    error = capsys.readouterr().err
    assert error.startswith(expected)
    assert error.count("\n") == 1

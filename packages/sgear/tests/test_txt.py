"""TXT files: comments, sweeps, picking a run."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from sgear.txt import Run, differing, expand, parse_lines, pick, read_lines, split_word

names = st.from_regex(r"[a-z]{1,6}(\.[a-z]{1,6}){0,2}", fullmatch=True)
values = st.one_of(
    st.integers(-1000, 1000).map(str),
    st.from_regex(r"[a-z][a-z0-9_./-]{0,8}", fullmatch=True),
    st.just("[a,b]"),
    st.just("${train.num_epochs}"),
)


@given(st.dictionaries(names, st.lists(values, min_size=1, max_size=3, unique=True), max_size=4))
@settings(max_examples=25, deadline=None)
def test_product_of_all_sweeps_last_one_fastest(table):
    words = [f"{key}={','.join(options)}" for key, options in table.items()]
    runs = expand(words)
    product = list(itertools.product(*table.values()))
    assert len(runs) == len(product)
    for index, (run, point) in enumerate(zip(runs, product, strict=True)):
        assert run.index == index
        assert run.overrides == tuple(f"{k}={v}" for k, v in zip(table, point, strict=True))


@given(st.lists(st.tuples(names, st.sampled_from(["", "  ", "# x", " # a=b # c"])), max_size=5))
def test_comments_and_blanks_leave_nothing_behind(rows):
    text = "\n".join(f"  {key}=1{comment}\n{comment.strip()}" for key, comment in rows)
    assert parse_lines(text) == [f"{key}=1" for key, _ in rows]


@given(st.dictionaries(names, values, min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_an_expanded_run_expands_to_itself(table):
    """What a run is started with may be read again, by a scheduler's job for example."""
    [run] = expand([f"{key}={value}" for key, value in table.items()])
    assert expand(run.overrides) == [run]


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("a=1e-3", "a=0.001"),
        ("a=.5", "a=0.5"),
        ("a=007", "a=007"),
        ("a=TRUE", "a=True"),
        ("a=null", "a=null"),
        ("a='x, y'", "a='x, y'"),
        ('a="k=v"', 'a="k=v"'),
        ("a=${b.c}/d", "a=${b.c}/d"),
        ("a=${minus:${b},1}", None),
        ("a='${minus:${b},1}'", "a='${minus:${b},1}'"),
        ("a=${hydra:runtime.cwd}/x", "a=${hydra:runtime.cwd}/x"),
        ("a=[${b}, [c, 1.0e-05]]", "a=[${b},[c,1e-05]]"),
        ("a={k: ${b}, l: 2}", "a={k:${b},l:2}"),
        ("model/future_predictor@x.y=mlp", "model/future_predictor@x.y=mlp"),
    ],
)
def test_values_are_written_back(word, written):
    if written is None:
        with pytest.raises(UserError, match="cannot read"):
            expand([word])
    else:
        assert expand([word])[0].overrides == (written,)


def test_glob_sweeps_over_the_options_of_a_group():
    runs = expand(["model/classifier=glob(*)"])
    assert [run.overrides[0] for run in runs] == ["model/classifier=linear", "model/classifier=mlp"]


def test_a_key_given_twice_has_its_last_value_at_its_first_place():
    assert expand(["a=1", "b=2", "a=3,4"])[1].overrides == ("a=4", "b=2")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a=b=c", "put a value with = in quotes, a='b=c'"),
        ("a='x", "a quote is not closed"),
        ("nonsense", "expected key=value"),
        ("a=[1,2", "cannot read 'a=[1,2'"),
        ("a=interval(1,2)", "does not support"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line, message):
    with pytest.raises(UserError, match=r"cannot") as error:
        expand([line])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_no_experiment(tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n\n")
    with pytest.raises(UserError, match="no override in it"):
        read_lines(empty)
    with pytest.raises(UserError, match="no such TXT experiment"):
        read_lines(tmp_path / "none.txt")
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\x00a=1")
    with pytest.raises(UserError, match="not a text file"):
        read_lines(binary)


RUNS = [Run(0, ("a=1", "b=2")), Run(1, ("a=1", "b=3"))]


def test_only_differing_keys_are_shown():
    assert differing(RUNS) == [{"b": "2"}, {"b": "3"}]
    assert differing(RUNS[:1]) == [{}]
    assert split_word("a='x=y'") == ("a", "'x=y'")


def test_picking_a_run():
    assert pick(RUNS[:1], None, None) == RUNS[0]
    assert pick(RUNS, 1, None) == RUNS[1]
    shown = []

    def answer(text):
        shown.append(text)
        return " 1 "

    assert pick(RUNS, None, answer) == RUNS[1]
    assert "1  b=3" in shown[0]
    assert "a=1" not in shown[0]
    with pytest.raises(UserError, match=r"--run_id N, 0 to 1"):
        pick(RUNS, None, None)
    with pytest.raises(UserError, match="no run 2"):
        pick(RUNS, 2, None)
    with pytest.raises(UserError, match="'x' is no run"):
        pick(RUNS, None, lambda _: "x")

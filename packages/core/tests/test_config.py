"""Configuration: composed from yaml files and words, typed, with all mistakes told at once."""

from __future__ import annotations

import dataclasses
import math
import string
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from behaviorzoo.config import (
    compose,
    compose_run,
    describe,
    from_dict,
    keys_of_section,
    read_yaml,
    to_dict,
    to_yaml,
)
from behaviorzoo.errors import UserError
from behaviorzoo.schema import convert
from behaviorzoo.schema_keys import nearest_key


@dataclass(frozen=True)
class Model:
    """A network.

    Attributes:
        q_strides: Pooling between
            the stages.
        widths: One for each stage.

    Note: not a description of anything.
    """

    q_strides: tuple[tuple[int, int, int], ...] = ((2, 1, 4), (2, 1, 6))
    widths: tuple[int, ...] = (78, 128, 256)
    ratio: float = field(default=0.7, metadata={"help": "share of mask units that are hidden"})
    fusion: Literal["single", "multi"] = "single"

    def __post_init__(self):
        if not 0 < self.ratio < 1:
            raise ValueError(f"ratio {self.ratio} must lie between 0 and 1")


@dataclass
class Step:
    frames: int = 1


@dataclass
class Data:
    dataset: Literal["shot", "own"] = "own"
    path: str | None = None
    files: list[str] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    sources: str | list[str] = "a"
    steps: list[Step] = field(default_factory=list)


@dataclass
class Config:
    name: str = "run"
    out: Path = Path("runs/run")
    epochs: int = 10
    batch_size: int = 4
    clip: float | None = None
    devices: int | str = "auto"
    verbose: bool = False
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)


FILES = {
    "__init__.py": "",
    "config.yaml": (
        "defaults: [_self_, {data: own}, {experiment: null}]\nout: runs/${name}\nepochs: 20\n"
    ),
    "data/own.yaml": "dataset: own\n",
    "data/shot.yaml": "dataset: shot\npath: shot.npy\n",
    "experiment/small.yaml": (
        "# @package _global_\n"
        "defaults: [{override /data: shot}]\n"
        "name: small\nepochs: 3\nmodel:\n  q_strides: [[5, 1, 1], [3, 1, 1]]\n  ratio: 0.5\n"
    ),
}


@pytest.fixture
def conf(tmp_path, monkeypatch) -> str:
    """Import name of a package of yaml files, fresh for each test."""
    name = f"conf_{tmp_path.name}".replace("-", "_")
    for file, text in FILES.items():
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def problems_of(*args, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        compose(*args, **kwargs)
    return str(caught.value)


# ------------------------------------------------------------------ composing


def test_words_win_over_experiments_over_files_over_defaults(conf):
    config = compose(Config, conf)
    assert (config.epochs, config.batch_size, config.data.dataset) == (20, 4, "own")
    assert config.out == Path("runs/run")

    config = compose(Config, conf, ["experiment=small"])
    assert (config.epochs, config.name, config.out) == (3, "small", Path("runs/small"))
    assert config.model.q_strides == ((5, 1, 1), (3, 1, 1))
    assert config.data.path == "shot.npy"

    config = compose(Config, conf, ["epochs=5", "experiment=small", "model.ratio=0.25"])
    assert (config.epochs, config.model.ratio) == (5, 0.25)


def test_a_group_chosen_in_words_wins_over_the_one_of_the_experiment(conf):
    config = compose(Config, conf, ["experiment=small", "data=own"])
    assert (config.data.dataset, config.data.path) == ("own", None)
    assert config.epochs == 3


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("model.q_strides=[[2,1,4],[2,1,6]]", "model.q_strides", ((2, 1, 4), (2, 1, 6))),
        ("model.widths=[1]", "model.widths", (1,)),
        ("clip=0.02", "clip", 0.02),
        ("clip=null", "clip", None),
        ("clip=1", "clip", 1.0),
        ("clip=1e-5", "clip", 1e-5),
        ("devices=2", "devices", 2),
        ("devices=auto", "devices", "auto"),
        ("verbose=true", "verbose", True),
        ("+epochs=7", "epochs", 7),
        ("++epochs=7", "epochs", 7),
        ("data.files=[a.nc,b.nc]", "data.files", ["a.nc", "b.nc"]),
        ("data.names={a:1,b:2}", "data.names", {"a": 1, "b": 2}),
        ("data.sources=[x,y]", "data.sources", ["x", "y"]),
        ("data.sources=x", "data.sources", "x"),
        ("data.steps=[{frames: 2}, {}]", "data.steps", [Step(2), Step()]),
        ("data.path=null", "data.path", None),
        ("model.fusion=multi", "model.fusion", "multi"),
    ],
)
def test_values_arrive_with_their_type(conf, word, key, value):
    got: Any = compose(Config, conf, [word])
    for name in key.split("."):
        got = getattr(got, name)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    "path",
    ["/data/my rats (copy)/a=b, c.nc", "2024", "true", "it's.nc", "C:\\rats\\", "ünï*?[1].nc", ""],
)
def test_any_path_can_be_written_bare(conf, path):
    assert compose(Config, conf, [f"data.path={path}"]).data.path == path


def test_names_in_a_list_can_be_numbers(conf):
    config = compose(Config, conf, ["data.files=[14, 27,s 3]", "data.sources=[007,1_0]"])
    assert config.data.files == ["14", "27", "s 3"]
    assert config.data.sources == ["007", "1_0"]
    assert compose(Config, conf, ["data.files=[]"]).data.files == []
    assert compose(Config, conf, ["data.files=['a,b', c]"]).data.files == ["a,b", "c"]


def test_a_file_of_the_users_is_an_experiment_too(conf, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nmodel: {ratio: 0.1}\n")
    config = compose(Config, conf, [f"experiment={file}", "epochs=2"])
    assert (config.name, config.model.ratio, config.epochs) == ("mine", 0.1, 2)


def test_a_recipe_of_the_users_lies_over_the_default_one(conf, tmp_path):
    config_file = tmp_path / conf / "config.yaml"
    config_file.write_text(config_file.read_text().replace("experiment: null", "experiment: small"))
    assert compose(Config, conf).name == "small"
    (tmp_path / "mine.yaml").write_text("model: {ratio: 0.1}\n")
    mine = compose(Config, conf, [f"experiment={tmp_path / 'mine.yaml'}"])
    assert (mine.model.ratio, mine.name, mine.data.dataset) == (0.1, "small", "shot")

    (tmp_path / "alone.yaml").write_text("# @package _global_\ndefaults: []\nepochs: 1\n")
    alone = compose(Config, conf, [f"experiment={tmp_path / 'alone.yaml'}"])
    assert (alone.epochs, alone.name, alone.model.ratio) == (1, "run", 0.7)
    assert compose(Config, conf, ["experiment=null", "data=null"]).name == "run"


def test_nothing_can_be_chosen_where_nothing_is_the_default(conf):
    assert compose(Config, conf, ["experiment=null"]) == compose(Config, conf)


def test_the_saved_configuration_of_a_run_composes_to_the_same_again(conf, tmp_path):
    config = compose(Config, conf, ["experiment=small", "clip=0.5", "data.names={a:1}"])
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert compose(Config, conf, [f"experiment={tmp_path / 'config.yaml'}"]) == config


def test_a_mapping_in_a_file_replaces_the_one_below(conf, tmp_path):
    """Else names of the recipe below would stay: two heads where the file has one."""
    folder = tmp_path / conf / "experiment"
    (folder / "heads.yaml").write_text("# @package _global_\ndata: {names: {a: 1, b: 2}}\n")
    mine = tmp_path / "mine.yaml"
    mine.write_text("defaults: [/experiment/heads, _self_]\ndata: {names: {c: 3, a: 4}}\n")
    mine.write_text("# @package _global_\n" + mine.read_text())
    for word in ("experiment=heads", f"experiment={mine}"):
        config = compose(Config, conf, [word])
        assert list(config.data.names.items()) == (
            [("a", 1), ("b", 2)] if word.endswith("heads") else [("c", 3), ("a", 4)]
        )
    words = [f"experiment={mine}", "data.names.b=7", "data.names.a=null"]
    assert compose(Config, conf, words).data.names == {"c": 3, "b": 7}
    assert compose(Config, conf, ["experiment=heads", "data.names.z=0"]).data.names == {
        "a": 1,
        "b": 2,
        "z": 0,
    }


def test_a_run_is_resumed_with_its_settings(conf, tmp_path):
    out = tmp_path / "here"
    first = compose(Config, conf, ["experiment=small", f"out={out}", "batch_size=9"])
    out.mkdir()
    (out / "config.yaml").write_text(to_yaml(first))
    assert compose_run(Config, conf, [f"out={out}"], resume=True) == first
    assert compose_run(Config, conf, [f"out={out}", "clip=2"], resume=True).clip == 2
    assert compose_run(Config, conf, [f"out={out}"]).batch_size == 4
    named = compose_run(Config, conf, ["experiment=small", f"out={out}"], resume=True)
    assert named.batch_size == 4
    assert compose_run(Config, conf, ["out=nowhere"], resume=True).epochs == 20


def test_a_run_to_resume_is_found_by_its_name(conf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = compose(Config, conf, ["name=b", "epochs=77"])
    first.out.mkdir(parents=True)
    (first.out / "config.yaml").write_text(to_yaml(first))
    assert compose_run(Config, conf, ["name=b"], resume=True) == first
    assert compose_run(Config, conf, ["name=c"], resume=True).epochs == 20


def test_words_change_given_settings(conf):
    start = compose(Config, conf, ["experiment=small", "data.names.a=1"])
    changed = compose_run(Config, conf, ["clip=0.5"], start=start)
    assert changed == dataclasses.replace(start, clip=0.5)


def test_keys_of_one_section():
    words = ["data.path=a=b", "+data.deep.er=1", "data=shot"]
    assert keys_of_section(words, "data", "else") == {"path", "deep.er", ""}
    with pytest.raises(UserError, match=r"^epochs=3, database\.x=1: only data\.\* can .*, or so$"):
        keys_of_section(["epochs=3", "data.path=x", "database.x=1"], "data", "or so")


def test_a_file_can_be_one_section(conf, tmp_path):
    (tmp_path / "section.yaml").write_text("path: here.npy\n")
    assert compose(Config, conf, [f"data={tmp_path / 'section.yaml'}"]).data.path == "here.npy"


def test_hydra_is_left_as_it_was_found(conf):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    compose(Config, conf)
    assert not GlobalHydra.instance().is_initialized()
    with initialize_config_module(conf, version_base="1.2"):
        compose(Config, conf, ["experiment=small"])
        problems_of(Config, conf, ["nonsense"])
        assert hydra_compose("data/shot")["data"]["path"] == "shot.npy"
    assert not GlobalHydra.instance().is_initialized()


# ------------------------------------------------------------------ mistakes


def test_all_mistakes_are_told_at_once(conf):
    text = problems_of(
        Config,
        conf,
        ["epochs=many", "model.q_stride=[1]", "nonsense", "experiment=smalll", "verbose=3"],
    )
    assert text.splitlines()[0] == "configuration: 5 problems"
    assert "  epochs: got 'many', expected int" in text
    assert "  model.q_stride: unknown key; did you mean 'model.q_strides'?" in text
    assert "  'nonsense' is not of the form key=value" in text
    assert "  experiment: no choice or yaml file 'smalll'; did you mean 'small'?" in text
    assert "  verbose: got 3, expected true or false" in text


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("bathc_size=3", "did you mean 'batch_size'?"),
        ("optim.batch_size=3", "did you mean 'batch_size'?"),
        ("ratio=0.2", "did you mean 'model.ratio'?"),
        ("model.zzz=1", "choose one of: model.fusion, model.q_strides, model.ratio, model.widths"),
        ("epochs=1.5", "epochs: got 1.5, expected int"),
        ("epochs=true", "epochs: got true, expected int"),
        ("epochs=1,2", "a list is written in brackets"),
        ("epochs=[1", "cannot read the value '[1', expected int"),
        ("epochs=", "epochs: got '', expected int"),
        ("clip=high", "clip: got 'high', expected number"),
        ("clip=null=1", "clip"),
        ("model.fusion=mult", "'mult' is not one of 'single' or 'multi'; did you mean 'multi'?"),
        (
            "model.q_strides=[[2,1]]",
            "model.q_strides[0]: got [2, 1], expected list [int, int, int]",
        ),
        ("model.q_strides=[[2,1,x]]", "model.q_strides[0][2]: got 'x', expected int"),
        ("model.widths=3", "model.widths: got 3, expected list of int"),
        (
            "data.steps=[{frame: 1}]",
            "data.steps[0].frame: unknown key; did you mean 'data.steps[0]",
        ),
        ("data.steps=[{frames: x}]", "data.steps[0].frames: got 'x', expected int"),
        ("data.names={a:b}", "data.names.a: got 'b', expected int"),
        ("model=3", "model: got 3, expected a section with the keys q_strides"),
        ("model.ratio=2", "model: ratio 2.0 must lie between 0 and 1"),
        ("data=sho", "data: no choice or yaml file 'sho'; did you mean 'shot'?"),
        ("experiment=gone.yaml", "gone.yaml: no such configuration"),
        ("=3", "is not of the form key=value"),
        ("~epochs=3", "is not of the form key=value"),
        ("name=${nowhere}", "nowhere"),
    ],
)
def test_each_mistake_names_key_value_and_remedy(conf, word, expected):
    text = problems_of(Config, conf, [word])
    assert expected in text
    assert len(text.splitlines()) == 1


def test_a_mistake_in_a_file_names_the_file(conf, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("epoch: 3\nmodel: {widths: [1, no number]}\n")
    text = problems_of(Config, conf, [f"experiment={file}"])
    assert f"epoch: unknown key; did you mean 'epochs'? (in {file})" in text
    assert f"model.widths[1]: got 'no number', expected int (in {file})" in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [("", "is empty"), ("- 1\n", "expected 'key: value' lines, got list"), ("a: [", "not a yaml")],
)
def test_a_yaml_file_that_is_none(tmp_path, content, expected):
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(UserError, match=expected):
        read_yaml(tmp_path / "x.yaml")


def test_missing_values_are_named():
    @dataclass
    class Needs:
        path: str

    with pytest.raises(UserError, match=r"^run.yaml: path: missing; expected text$"):
        from_dict(Needs, {}, where="run.yaml")


# ------------------------------------------------------------------ round trips

_names = st.text(string.ascii_letters + "äß日 :#-{}[]'\"%\n\t", max_size=12)
_floats = st.floats(allow_nan=False)
_models = st.builds(
    Model,
    q_strides=st.lists(st.tuples(*[st.integers()] * 3), max_size=3).map(tuple),
    widths=st.lists(st.integers(), max_size=3).map(tuple),
    ratio=st.floats(0.01, 0.99),
    fusion=st.sampled_from(["single", "multi"]),
)
_data = st.builds(
    Data,
    dataset=st.sampled_from(["shot", "own"]),
    path=st.none() | _names,
    files=st.lists(_names, max_size=3),
    names=st.dictionaries(_names, st.integers(), max_size=3),
    sources=_names | st.lists(_names, max_size=2),
    steps=st.lists(st.builds(Step, st.integers()), max_size=2),
)
_configs = st.builds(
    Config,
    name=_names,
    out=st.just(Path("a/b c")),
    epochs=st.integers(),
    batch_size=st.integers(),
    clip=st.none() | _floats,
    devices=st.integers() | _names,
    verbose=st.booleans(),
    data=_data,
    model=_models,
)


@given(_configs)
def test_dict_and_yaml_give_the_same_configuration_back(config):
    assert from_dict(Config, to_dict(config)) == config
    assert from_dict(Config, yaml.safe_load(to_yaml(config))) == config


_FIELDS = [field.name for field in dataclasses.fields(Config)]
_plain = st.recursive(
    st.sampled_from([None, True, 3, 0.5, float("nan"), "text", "own", "multi", "a/b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "data", "model", "path", "q_strides", "zz"]), inner, max_size=4
        )
    ),
    max_leaves=6,
)


def _fits(hint_value: Any, original: Any) -> bool:
    """Slow check that a typed value holds just what the plain one said."""
    if dataclasses.is_dataclass(hint_value):
        return all(_fits(getattr(hint_value, key), value) for key, value in original.items())
    if isinstance(hint_value, list | tuple):
        return len(hint_value) == len(original) and all(map(_fits, hint_value, original))
    if isinstance(hint_value, dict):
        return all(_fits(hint_value[key], original[key]) for key in original)
    if isinstance(hint_value, float) and math.isnan(hint_value):
        return math.isnan(original)
    return str(hint_value) == original if isinstance(hint_value, Path) else hint_value == original


@given(st.dictionaries(st.sampled_from(_FIELDS), _plain, max_size=4))
def test_whatever_is_given_it_is_either_taken_exactly_or_refused(mapping):
    config, problems = convert(Config, mapping)
    if problems:
        assert config is None
        assert all(problem.key and str(problem) for problem in problems)
    else:
        assert _fits(config, mapping)


@given(st.text(max_size=20), st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6))
def test_a_suggestion_is_always_a_valid_key(path, known):
    sentence = nearest_key(path, known)
    assert sentence.startswith(("did you mean ", "choose one of: "))
    if sentence.startswith("did you mean "):
        assert any(repr(key) in sentence or repr(key.split(".")[0]) in sentence for key in known)


def test_every_key_is_described():
    text = describe(Config)
    assert "model.ratio (number, default 0.7)\n    share of mask units that are hidden" in text
    assert (
        "model.q_strides (list of list [int, int, int], default [[2, 1, 4], [2, 1, 6]])\n"
        "    Pooling between the stages.\n"
    ) in text
    assert "    One for each stage.\n" in text
    assert "not a description" not in text
    assert "model.fusion ('single' or 'multi', default 'single')" in text
    assert "clip (number or null, default null)" in text

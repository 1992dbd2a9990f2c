"""Objects in pickles that are written down for the caller instead of made."""

from __future__ import annotations

import fractions
import io
import os
import pickle
import pickletools

import numpy as np
import pytest

from behaviorzoo import restricted_pickle
from behaviorzoo.pickled_values import DamagedPickleError, ForbiddenGlobalError, Record


class Planned:
    """Written as a call of a class, a list of values and a state."""

    def __init__(self, answer: object, state: object):
        self.answer, self.state = answer, state

    def __reduce__(self):
        return fractions.Fraction, (self.answer,), self.state


def load(value: object, *names: str, protocol: int = 4):
    return restricted_pickle.load(io.BytesIO(pickle.dumps(value, protocol)), records=names)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_listed_name_becomes_a_record_with_arguments_and_state(protocol):
    planned = Planned("1/3", {"x": np.arange(3)})
    (record,) = load([planned], "fractions.Fraction", protocol=protocol)
    assert isinstance(record, Record)
    assert (record.name, record.arguments) == ("fractions.Fraction", ("1/3",))
    np.testing.assert_array_equal(record.state["x"], [0, 1, 2])


def test_an_object_made_without_its_constructor_becomes_a_record():
    data = b"\x80\x02cfractions\nFraction\n)\x81}X\x01\x00\x00\x00aK\x01sb."
    assert "NEWOBJ" in [opcode.name for opcode, *_ in pickletools.genops(data)]
    record = restricted_pickle.load(io.BytesIO(data), records=["fractions.Fraction"])
    assert (record.name, record.arguments, record.state) == ("fractions.Fraction", (), {"a": 1})
    with pytest.raises(ForbiddenGlobalError, match="Fraction"):
        restricted_pickle.load(io.BytesIO(data))


def test_the_same_object_twice_is_the_same_record():
    planned = Planned("1/2", {"x": 1})
    first, second = load([planned, planned], "fractions.Fraction")
    assert first is second


def test_other_names_are_refused_as_ever(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    with pytest.raises(ForbiddenGlobalError, match="mkdir"):
        load(Harmful(), "fractions.Fraction")
    assert not (tmp_path / "made").exists()


def test_a_listed_name_is_never_called(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    record = load(Harmful(), f"{os.mkdir.__module__}.mkdir")
    assert record.arguments == (str(tmp_path / "made"),)
    assert not (tmp_path / "made").exists()


def test_a_name_where_a_value_belongs_is_refused():
    with pytest.raises(ForbiddenGlobalError, match="Fraction"):
        load([fractions.Fraction], "fractions.Fraction")


def test_an_object_of_no_name_is_damage():
    with pytest.raises(DamagedPickleError, match="not a name"):
        restricted_pickle.load(io.BytesIO(b"\x80\x02K\x01)\x81."))

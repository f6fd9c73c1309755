"""The two logs and the running means."""

import json

import pytest
import torch

from clustercontrast.engine.log import Log, Meter
from clustercontrast.files import UserError


def epochs(path):
    return [(e["stage"], e["epoch"]) for e in map(json.loads, path.read_text().splitlines())]


@pytest.fixture
def filled(tmp_path):
    written = Log(tmp_path / "run")
    for stage in ("intra", "cross"):
        for epoch in range(3):
            written.event(event="epoch", stage=stage, epoch=epoch)
    return written


def test_forget_drops_what_will_be_done_again(filled):
    filled.forget("cross", 1)
    assert epochs(filled.metrics) == [("intra", 0), ("intra", 1), ("intra", 2), ("cross", 0)]
    filled.forget("intra", 0)
    assert epochs(filled.metrics) == [("cross", 0)]


def test_forget_drops_a_line_that_a_kill_has_cut(filled):
    with filled.metrics.open("a") as file:
        file.write('{"event": "epoch", "stage": "cro')
    filled.forget("cross", 3)
    assert epochs(filled.metrics) == [(s, e) for s in ("intra", "cross") for e in range(3)]


def test_forget_without_events(tmp_path):
    fresh = Log(tmp_path / "run")
    fresh.forget("intra", 0)
    assert not fresh.metrics.exists()


def test_console_lines_are_in_the_file_too_and_file_lines_not_on_the_console(filled, capsys):
    filled.say("to both")
    filled.say("to the file", console=False)
    assert capsys.readouterr().out == "to both\n"
    lines = filled.text.read_text().splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == ["to both", "to the file"]


def test_a_log_that_cannot_be_written_is_named(filled):
    filled.metrics.unlink()
    filled.metrics.mkdir()
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        filled.event(event="epoch", stage="intra", epoch=0)


def test_means_by_hand():
    """Two iterations of two optimiser steps: unweighted terms, and the sum of the weighted ones."""
    meter = Meter()
    for a, b in ((1.0, 10.0), (3.0, 30.0)):
        meter.add({"a": (1.0, torch.tensor(a)), "b": (0.25, torch.tensor(b))})
        meter.add({"joint": (1.0, torch.tensor(2 * a))})
        meter.iterations += 1
    assert meter.means() == {"a": 2.0, "b": 20.0, "total": 2 + 0.25 * 20 + 4, "joint": 4.0}


def test_streams_of_an_epoch_may_have_terms_of_their_own():
    """A term is a mean over the steps that had it, the total one over all iterations."""
    meter = Meter()
    for terms in ({"a": 1.0}, {"a": 3.0}, {"b": 5.0}):
        meter.add({name: (1.0, torch.tensor(value)) for name, value in terms.items()})
        meter.iterations += 1
    assert meter.means() == {"a": 2.0, "b": 5.0, "total": 3.0}


def test_the_meter_keeps_no_graph():
    meter = Meter()
    meter.add({"a": (1.0, torch.ones(1, requires_grad=True).sum())})
    assert not any(value.requires_grad for value in meter.sums.values())


def test_the_first_term_that_is_not_finite_is_named():
    meter = Meter()
    meter.add({"fine": (1.0, torch.tensor(1.0)), "broken": (1.0, torch.tensor(float("nan")))})
    meter.iterations += 1
    with pytest.raises(FloatingPointError, match="broken"):
        meter.means()


def test_cut_lines_belong_to_no_epoch(filled):
    with filled.metrics.open("a") as file:
        file.write("{\n")
    filled.forget("intra", 5)
    assert epochs(filled.metrics) == [(s, e) for s in ("intra", "cross") for e in range(3)]

"""Every stage of CMAM-UDA says how it reads the paper, and the page of the method says the same."""

import re
from pathlib import Path

import pytest
import tiny_cmam

from clustercontrast.methods import METHODS
from clustercontrast.methods.cmam.readings import READINGS, WORDS, said

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "cmam.md"


def on_the_page():
    """Flags of every row of the page's register, switches without their "no"."""
    rows = re.findall(r"^\| (A\d+) \|[^|]*\|[^|]*\|([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    return {
        key: {flag.replace("-", "_") for flag in re.findall(r"--(?:no-)?([a-z-]+)", flags)}
        for key, flags in rows
    }


def test_the_page_has_every_reading_with_its_flags():
    page, code = on_the_page(), {}
    for readings in READINGS.values():
        for key, flags in readings.items():
            code[key] = code.get(key, set()) | set(flags)
    assert list(page) == [f"A{number}" for number in range(1, 45)]
    assert {key: flags for key, flags in page.items() if flags} == code
    assert WORDS.keys() == code.keys()


@pytest.mark.parametrize("stage", [stage.name for stage in METHODS["cmam"]])
def test_a_stage_names_its_flags_and_their_values(stage):
    args = tiny_cmam.options().at(stage)
    line = said(stage, args)
    for flags in READINGS[stage].values():
        for flag in flags:
            assert f" {flag.replace('_', '-')} " in line
    assert "\n" not in line
    assert line.count(";") == len(READINGS[stage]) - 1


def test_the_line_by_hand():
    args = tiny_cmam.options("--source-splits", "train", "query").at("auxiliary")
    assert said("auxiliary", args) == (
        "auxiliary reads the paper so: source images: source-splits train,query (A28); source "
        "images without a cluster: source-outliers drop (A29)"
    )

"""First contact with a GPU: the script, the tables it fills, the operations that are counted."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import roofline, search, step, tables
from benchmarks.record import Record

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/benchmarks.md"
PLAIN = """# Page

<!-- table steps -->
| old |
<!-- end of table -->
between
<!-- table extraction -->
| as it was |
<!-- end of table -->
the end
"""


def leave(folder, name, *rows, machine="one GPU"):
    content = {"machine": machine, "date": "2026-11-29", "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_marked_tables_are_filled_and_all_else_is_left(tmp_path):
    first = {"method": "pclhd", "recomputed": False, "images_per_second": 1234.5, "error": None}
    second = {"method": "pgm", "recomputed": True, "images_per_second": 0.12345, "ratio": 1.5}
    leave(tmp_path, "steps-pclhd", first)
    leave(tmp_path, "steps-pgm", second)
    expected = PLAIN.replace(
        "| old |\n",
        "Machine: one GPU, 2026-11-29.\n\n"
        "| method | recomputed | images per s | times the reference |\n"
        "| --- | --- | --- | --- |\n"
        "| pclhd | no | 1,234 | – |\n"
        "| pgm | yes | 0.123 | 1.5 |\n",
    )
    assert tables.filled(PLAIN, tmp_path) == expected
    assert tables.filled(expected, tmp_path) == expected


def test_tables_of_several_machines_name_them_all(tmp_path):
    leave(tmp_path, "steps-a", {"method": "a"})
    leave(tmp_path, "steps-b", {"method": "b"}, machine="another")
    assert "Machine: one GPU, 2026-11-29; another, 2026-11-29.\n" in tables.filled(PLAIN, tmp_path)


def test_a_report_of_tests_is_counted(tmp_path):
    (tmp_path / "tests.xml").write_text(
        '<testsuites><testsuite tests="9" failures="1" errors="1" skipped="2" time="12.5"/>'
        "</testsuites>"
    )
    text = tables.filled("<!-- table tests -->\n<!-- end of table -->\n", tmp_path)
    assert "| 5 | 2 | 2 | 12.5 |" in text


def test_the_page_marks_every_table_once():
    text = PAGE.read_text()
    assert sorted(re.findall(r"<!-- table (\S+) -->", text)) == sorted(tables.TABLES)
    assert len(tables.BETWEEN_MARKS.findall(text)) == len(tables.TABLES)


def test_the_script_makes_every_table():
    script = (ROOT / "benchmarks/gpu.sh").read_text()
    made = set(re.findall(r"^(?:measure|step) ([a-z]+)", script, re.MULTILINE))
    assert made == set(tables.TABLES)
    named = re.findall(r"^measure \S+ \d+ (\w+)", script, re.MULTILINE)
    assert all((ROOT / f"benchmarks/{name}.py").exists() for name in named)


def test_rows_are_kept_at_once(tmp_path, capsys):
    record = Record(tmp_path / "rows.json", torch.device("cpu"))
    for number in range(2):
        record.add({"number": number})
        kept = json.loads((tmp_path / "rows.json").read_text())
        assert kept["rows"] == [{"number": n} for n in range(number + 1)]
    assert capsys.readouterr().out == "number 0\nnumber 1\n"


def test_counted_operations_are_those_of_the_page():
    """ResNet-50 at 288x144: its convolutions by hand, and the page's figures."""
    forward, both, iteration = (row["gflop"] for row in roofline.rows())
    assert forward == pytest.approx(2 * multiplications(288, 144) / 1e9, rel=0.01)
    assert iteration == pytest.approx(768 * both + 384 * forward, rel=0.001)
    text = PAGE.read_text()
    assert f"| forward, per image | {forward:.2f} |" in text
    assert f"| forward and backward, per image | {both:.1f} |" in text
    assert f"| {round(iteration, -1):,.0f} |" in text


def multiplications(height, width):
    """Of the convolutions of one ResNet-50 whose last stride is 1, without its non-local blocks."""
    area = height * width // 4
    count, channels, area = area * 49 * 3 * 64, 64, area // 4
    for inner, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 1)):
        for block in range(blocks):
            before, area = area, area // (stride**2 if block == 0 else 1)
            count += before * channels * inner + area * (9 * inner**2 + 4 * inner**2)
            count += area * channels * 4 * inner if block == 0 else 0
            channels = 4 * inner
    return count


@pytest.mark.parametrize("layout", ["on", "off"])
def test_a_layout_is_that_of_images_and_weights(layout):
    """With channels last switched off, no convolution sees it."""
    small = ["--height", "32", "--width", "16", "--depth", "10", "-b", "16"]
    args = step.flags("adca", 0, [*small, "--batch-visible", "16"])
    make = step.METHODS["adca"][0]
    make = make if layout == "on" else step.contiguous(make)
    wanted = torch.channels_last if layout == "on" else torch.contiguous_format
    seen = []

    def noted(layer, inputs):
        if layer.training:
            seen.extend(t.is_contiguous(memory_format=wanted) for t in (*inputs, layer.weight))

    hook = nn.modules.module.register_module_forward_pre_hook(
        lambda layer, inputs: noted(layer, inputs) if isinstance(layer, nn.Conv2d) else None
    )
    try:
        step.measured(make, args, torch.device("cpu"), 1)
    finally:
        hook.remove()
    assert seen
    assert all(seen)


def test_a_search_is_measured_in_every_way_and_finds_the_same(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    file = tmp_path / "search.json"
    words = [
        "--queries",
        "5",
        "--gallery",
        "200",
        "--length",
        "16",
        "--kinds",
        "flat",
        "--repeats",
        "1",
        "--rerank",
        "--json",
    ]
    monkeypatch.setattr(sys, "argv", ["search", *words, str(file)])
    search.main()
    rows = {row["way"]: row for row in json.loads(file.read_text())["rows"]}
    ways = ["one product and a sort", "exact, by blocks", "index flat"]
    assert [rows[way]["recall"] for way in ways] == [1, 1, 1]
    assert rows["index flat"]["recall_said"] == 1
    assert rows["exact and re-ranked"]["seconds"] > 0

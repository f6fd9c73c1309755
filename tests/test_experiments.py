"""The experiments on rendered identities: their command lines, and how tables get into a page."""

import itertools

import pytest

from benchmarks.experiments import cmam, methods, united_cells, united_tables
from benchmarks.experiments.pages import put_into
from benchmarks.experiments.recorded import Records, effect, pooled
from benchmarks.experiments.united_cells import QUESTIONS
from clustercontrast.commands.configuration import configuration
from clustercontrast.files import UserError
from clustercontrast.settings.command_line import parse

BATCH, PAPERS = 16, 64
WEIGHTS = {"pretrain": (0.5, 0.1), "selftrain": (0.05, 0.01)}  # λ_SP, λ_PP of the paper


def options_of(name):
    words = f"--method cmam --source x {cmam.flags_of(cmam.ROWS[name])}"
    if cmam.ROWS[name].goes_on:
        words += " --stages selftrain --start-from last"
    return parse("sysu", words.split())


@pytest.mark.parametrize("name", cmam.ROWS)
def test_relation_losses_weigh_as_in_batches_of_the_paper(name):
    """Sums over pairs and over images, beside a mean or a sum over images."""
    options = options_of(name)
    for stage in options.stages[-2:] if options.stages != ["selftrain"] else options.stages:
        a, (similarity, probability) = options.at(stage), WEIGHTS[stage]
        assert a.batch_size == BATCH
        images = PAPERS / BATCH if a.identity_reduction == "mean" else 1
        if a.sp and a.models == "both":
            assert a.similarity_weight == pytest.approx(similarity * PAPERS / BATCH * images)
        if a.pp and a.models == "both":
            assert a.probability_weight == pytest.approx(probability * images)


def test_rows_differ_and_share_source_labels_and_fakes():
    found = {name: configuration(options_of(name))["changes"] for name in cmam.ROWS}
    assert {"--epochs diffusion=2", "--lr diffusion=0.001"} <= set(found["default"]["diffusion"])
    for name, own in found.items():
        for stage in ("auxiliary", "diffusion"):
            assert own.get(stage, found["default"][stage]) == found["default"][stage]
        same = [other for other in found if found[other]["selftrain"] == own["selftrain"]]
        trained = [other for other in same if found[other].get("pretrain") == own.get("pretrain")]
        assert trained == [name]


def test_half_of_the_images_or_a_larger_radius_is_all_that_sets_rows_apart():
    for name, row in methods.ROWS.items():
        base = f"--method {row.method} {methods.METHODS[row.method]}"
        one, other = (
            configuration(parse("sysu", x.split())) for x in (base, f"{base} {row.flags}")
        )
        for stage, changes in other["changes"].items():
            set_apart = {words.split(" ")[0] for words in {*changes} ^ {*one["changes"][stage]}}
            assert set_apart <= {"--visible-share", "--eps-visible", "--joint-loss"}, name


def test_tables_replace_what_is_between_their_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- cmam: fakes -->\nold\n<!-- end of cmam: fakes -->\nbelow\n")
    put_into(page, "cmam", {"fakes": "| new |"})
    assert page.read_text() == (
        "above\n<!-- cmam: fakes -->\n| new |\n<!-- end of cmam: fakes -->\nbelow\n"
    )
    with pytest.raises(UserError, match="has no lines <!-- cmam: rows --> and"):
        put_into(page, "cmam", {"rows": ""})


CELLS = {cell.name: cell for own in QUESTIONS.values() for cell in own.cells}


@pytest.mark.parametrize("name", CELLS)
def test_cells_of_united_are_trainings_of_which_stage_1_is_shared(name):
    cell = CELLS[name]
    alone = parse("sysu", cell.first.every_flag.split()).at("intra")
    first = parse("sysu", [*cell.every_flag.split(), "--stage1", "x"]).at("intra")
    own = {"stages": None, "start_from": "test", "stage1": None}
    assert vars(first) | own == vars(alone)


def test_the_same_flags_are_one_cell_in_every_experiment():
    cells = [cell for own in QUESTIONS.values() for cell in own.cells]
    assert len({cell.every_flag for cell in cells}) == len(CELLS)
    grid = {cell.name for cell in QUESTIONS["E6"].cells}
    assert len(grid) == 8
    assert {"united", "united_joint-distance_plain", "united_distil_none"} <= grid


def test_recorded_runs_are_read_where_their_flags_still_hold(tmp_path):
    table = Records(tmp_path / "runs.csv", ("mAP", "date"))
    table.add("one", 2, "--lr 1", {"mAP": 12.3456789, "date": "2026-11-29"})
    table.add("one", 1, "--lr 1", {"mAP": 10.0})
    table.add("one", 1, "--lr 2", {"mAP": 99.0})
    table.add("one", 2, "--lr 1", {"mAP": 13.0})  # the last line of a seed counts
    assert {seed: run["mAP"] for seed, run in table.of("one", "--lr 1").items()} == {
        1: "10.0",
        2: "13.0",
    }
    assert list(table.of("one", "--lr 1")) == [1, 2]
    assert table.of("two", "--lr 1") == {}
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 5


def test_an_effect_is_counted_in_pooled_deviations():
    assert pooled([1.0, 3.0], [2.0, 2.0]) == pytest.approx(1.0)  # variances 2 and 0
    assert pooled([1.0], [1.0, 2.0]) is None
    assert effect({1: 4.0, 2: 6.0}, {1: 1.0, 2: 3.0}) == "+3.00 ± 0.00 (2.1 sd)"
    assert effect({1: 4.0, 2: 6.0}, {2: 3.0}) == "+3.00"  # a seed of its own is not compared
    assert effect({}, {1: 1.0}) == ""


def test_main_effects_are_those_of_the_seeds_that_every_cell_has(monkeypatch, tmp_path):
    """Halves give 3 points and distillation 1; the distance gives 2 only beside halves."""
    records = Records(tmp_path / "runs.csv", united_cells.FIGURES)
    monkeypatch.setattr(united_tables, "RECORDS", records)
    for seed, offset in ((1, 0.0), (2, 10.0), (3, 100.0)):
        for cell in united_cells.grid():
            halves, distil = "share" not in cell.flags, "distil" not in cell.flags
            aware = "plain" not in cell.flags
            gain = offset + 3 * halves + distil + 2 * (halves and aware)
            if seed < 3 or cell.flags:  # the full method was not run with seed 3
                records.add(cell.name, seed, cell.setting, {"mAP": 20 + gain, "start": 20.0})
    rows = united_tables.main_effects().splitlines()
    assert rows[0] == "| switched off | effect on mAP, seeds 1, 2 | mean | in pooled deviations |"
    assert rows[2:] == [
        "| halves | -4.00, -4.00 | -4.00 ± 0.00 | 0.6 |",
        "| modality-aware distance | -1.00, -1.00 | -1.00 ± 0.00 | 0.1 |",
        "| self-distillation | -1.00, -1.00 | -1.00 ± 0.00 | 0.1 |",
        "| halves × distance (+: they gain together) | +1.00, +1.00 | +1.00 ± 0.00 | 0.1 |",
    ]


def test_effects_of_parts_and_radius_are_means_over_the_other(monkeypatch, tmp_path):
    """The radius gives 2 points, halves 3 with united alone and 1 more beside the radius."""
    records = Records(tmp_path / "runs.csv", united_cells.FIGURES)
    monkeypatch.setattr(united_tables, "RECORDS", records)
    for seed, cell in itertools.product((1, 3), QUESTIONS["E1"].cells):
        halves = cell.method == "united" and "share 0.5" in cell.title
        large = "0.72" in cell.title
        gain = 10 * seed + 2 * large + 3 * halves + (halves and large)
        records.add(cell.name, seed, cell.setting, {"mAP": 20 + gain, "start": 20.0})
    head, _, *rows = united_tables.share_effects().splitlines()
    assert head == "| what is changed | effect on mAP, seeds 1, 3 | mean | in pooled deviations |"
    assert len(rows) == 3 * 4
    assert rows[:5] == [
        "| united: ε 0.72 in place of 0.6 | +2.25, +2.25 | +2.25 ± 0.00 | 0.2 |",
        "| united: share 0.75 in place of 1 | +0.00, +0.00 | +0.00 ± 0.00 | 0.0 |",
        "| united: share 0.5 in place of 1 | +3.50, +3.50 | +3.50 ± 0.00 | 0.2 |",
        "| united: share 0.33 in place of 1 | +0.00, +0.00 | +0.00 ± 0.00 | 0.0 |",
        "| PGM: ε 0.72 in place of 0.6 | +2.00, +2.00 | +2.00 ± 0.00 | 0.1 |",
    ]

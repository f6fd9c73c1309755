"""Published figures: transcription, the command lines they belong to, and who is compared."""

import collections
import functools
import re

import pytest

from clustercontrast.commands.configuration import configuration as configuration_of
from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.report.published import PUBLISHED, published, references, typed
from clustercontrast.report.references.commands import AS_IT_IS, PCLHD, RPNR
from clustercontrast.report.references.rows import METRICS, MODES, scores
from clustercontrast.settings.command_line import parse
from clustercontrast.settings.recipes import all_recipes

TABLE_1, TABLE_2 = (f"PCLHD (NeurIPS 2024), Table {number}" for number in (1, 2))
SWAPPED = "swapped_visible_to_infrared"
CMAM_TABLE = "CMAM-UDA (IEEE TCSVT 2024), Table"
RUNS = {(row.dataset, run) for row in PUBLISHED for run in row.runs}


def row(dataset, method, label="", selection="test", where=""):
    """The only row of that name, source and model."""
    (found,) = (
        own
        for own in PUBLISHED
        if (own.dataset, own.method, own.row, own.selection) == (dataset, method, label, selection)
        and own.where.startswith(where)
    )
    return found


def trained(dataset, run):
    """The configuration that training under a published row's flags has."""
    words = ["--method", run.method, "--variant", run.variant]
    words += " ".join(typed(run.flags)).split()
    if run.method == "cmam":
        words += ["--source", "somewhere"]
    return configuration_of(parse(dataset, words))


# --- the data ---


@pytest.mark.parametrize(
    ("dataset", "run"),
    [
        pytest.param(*pair, id=f"{pair[0]}-{pair[1].method}-{i}")
        for i, pair in enumerate(sorted(RUNS, key=str))
    ],
)
def test_a_configuration_is_what_its_flags_train(dataset, run):
    recipe = all_recipes()[run.method]
    assert run.stage in recipe.stages
    assert run.variant in recipe.variants
    assert trained(dataset, run)["changes"][run.stage] == list(run.flags)


def test_what_another_paper_quotes_differently_is_said():
    """PGM on RegDB, visible to infrared: mAP 65.4 in PCLHD's Table 1, 65.5 in CMAM-UDA's II."""
    own = row("regdb", "PGM", where="CVPR 2023")
    assert own.scores["visible_to_infrared"]["mAP"] == 65.4
    assert own.source.endswith("; mAP visible to infrared: 65.5 in CMAM-UDA, Table II")
    assert "65.5" not in row("sysu", "PGM", where="CVPR 2023").source


def test_the_methods_as_they_are_end_with_their_last_usual_stage():
    for name, recipe in all_recipes().items():
        if name != "supervised":
            usual = parse("sysu", ["--method", name]).stages or list(recipe.stages)
            run = AS_IT_IS[name]
            assert (run.stage, run.variant, run.flags) == (usual[-1], recipe.variants[0], ())


def test_no_configuration_has_two_rows_of_one_source():
    keys = [(own.source, own.selection, own.dataset, run) for own in PUBLISHED for run in own.runs]
    assert max(collections.Counter(keys).values()) == 1
    names = [(own.name, own.source, own.dataset, own.labels) for own in PUBLISHED]
    assert max(collections.Counter(names).values()) == 1


def test_figures_are_percents_of_known_searches_and_ranks_ascend():
    for dataset, protocol in PROTOCOLS.items():
        assert MODES[dataset] == tuple(protocol.headings)
    for own in PUBLISHED:
        assert own.scores.keys() <= set(MODES[own.dataset])
        assert own.scores
        for figures in own.scores.values():
            assert figures.keys() <= set(METRICS)
            assert all(0 < value < 100 for value in figures.values())
            ranks = [figures[name] for name in METRICS if name in figures and "rank" in name]
            assert ranks == sorted(ranks)
            assert figures.get("mINP", 0) < figures["mAP"]


def test_a_mark_for_no_figure_is_no_figure():
    assert scores("sysu", "61.0/-/57.0 -") == {"all": {"rank1": 61.0, "mAP": 57.0}}
    assert scores("llcm", "- - 69.21/55.52") == {SWAPPED: {"rank1": 69.21, "mAP": 55.52}}


SPOTS = [  # typed from the papers, READMEs and logs, first mode then second
    ("sysu", "DDAG", "", TABLE_1, (54.8, 53.0), (61.0, 68.0)),
    ("regdb", "LCNL", "", TABLE_1, (85.6, 78.7), (84.0, 76.9)),
    ("sysu", "SAAI", "", TABLE_1, (75.9, 77.0), (83.2, 88.0)),
    ("regdb", "DPIS", "", TABLE_1, (62.3, 53.2), (61.5, 52.7)),
    ("regdb", "NGLR", "", TABLE_1, (85.6, 76.7), (82.9, 75.0)),
    ("sysu", "MBCCM", "", TABLE_1, (53.1, 48.2), (55.2, 62.0)),
    ("sysu", "CCLNet", "", TABLE_1, (54.0, 50.2), (56.7, 65.1)),
    ("regdb", "PCLHD", "", TABLE_1, (84.3, 80.7), (82.7, 78.4)),
    ("regdb", "PCLHD+MMM", "", TABLE_1, (89.6, 83.7), (87.0, 80.9)),
    ("sysu", "PCLHD", "+ DPCL", TABLE_2, (59.1, 54.4), (63.6, 68.8)),
    ("sysu", "PCLHD", "+ HPCL", TABLE_2, (62.1, 56.8), (65.2, 69.8)),
    ("sysu", "PCLHD", "+ HPCL + DPCL", TABLE_2, (63.7, 57.8), (67.0, 72.6)),
    ("sysu", "PGM", "", TABLE_2, (56.3, 51.7), (60.5, 66.2)),
    ("regdb", "HOG", "", f"{CMAM_TABLE} II", (52.9, 31.0), (57.5, 33.9)),
    ("sysu02", "MMT", "", f"{CMAM_TABLE} II", (10.8, 8.2), (9.0, 8.3)),
    ("sysu02", "DML", "", f"{CMAM_TABLE} II", (44.2, 33.4), (45.0, 33.8)),
    ("sysu", "CMAM-UDA", "UDA3", f"{CMAM_TABLE} III", (42.7, 42.8), (51.4, 59.0)),
    ("sysu", "CMAM-UDA", "RGB-GRAY", f"{CMAM_TABLE} IV", (59.1, 56.1), (65.5, 70.2)),
    ("regdb", "PCA", "", "README", (86.43, 82.51), (86.21, 81.23)),
    ("regdb", "RPNR", "", "README", (90.31, 83.35), (89.09, 82.26)),
    ("sysu", "SDCL", "", "test log", (65.29, 63.63), (71.09, 76.40)),
    ("llcm", "CEIL", "", "README", (51.55, 55.14), (44.39, 49.95)),
    ("llcm", "DEEN", "", "DEEN (CVPR 2023)", (62.5, 65.8), (54.9, 62.9)),
]


@pytest.mark.parametrize("spot", SPOTS, ids=lambda spot: " ".join(spot[:3]))
def test_figures_are_those_of_their_source(spot):
    dataset, method, label, source, *expected = spot
    own = [
        entry
        for entry in PUBLISHED
        if (entry.dataset, entry.method, entry.row, entry.selection)
        == (dataset, method, label, "test")
        and (source in entry.source)
        and [tuple(entry.scores[m][k] for k in ("rank1", "mAP")) for m in MODES[dataset][:2]]
        == expected
    ]
    assert len(own) == 1


def test_figures_of_one_search_alone():
    assert row("sysu", "CMAM-UDA", "15 sampling steps").scores == {
        "all": {"rank1": 60.99, "mAP": 57.47}
    }
    assert row("sysu", "DML", "40% of the identities labelled").scores == {
        "all": {"rank1": 59.4, "mAP": 57.3}
    }
    assert row("sysu", "CAJ+", "10% of the identities labelled").runs == ()
    assert row("sysu", "PGM", "stage 1", "last").scores["all"]["mINP"] == 26.13


def test_table_1_is_whole():
    """20 supervised methods, 3 with some labels, 9 without and PCLHD in two rows."""
    found = collections.Counter(
        (own.dataset, own.labels) for own in PUBLISHED if TABLE_1 in own.source
    )
    for dataset in ("sysu", "regdb"):
        assert [found[dataset, labels] for labels in ("all", "some", "none")] == [20, 3, 11]


def test_swapped_figures_of_llcm_never_stand_beside_straight_ones():
    straight = [own for own in published("llcm") if SWAPPED not in own.scores]
    (swapped,) = (own for own in published("llcm") if own not in straight)
    assert swapped.scores.keys() == {SWAPPED}
    assert not any(
        own.scores[mode].get("rank1") == 69.21 for own in straight for mode in own.scores
    )


# --- row by row ---


ROWS_OF = {  # README's figures of one row, typed from it: draw or trial, first and second mode
    ("RPNR", "sysu"): (
        4,
        (66.39, 87.69, 93.90, 97.63, 62.24, 47.30),
        (70.83, 89.72, 93.34, 95.83, 74.81, 70.67),
    ),
    ("RPNR", "regdb"): (
        10,
        (93.45, 96.12, 97.14, 98.06, 86.22, 72.89),
        (91.80, 96.12, 97.14, 97.96, 85.30, 69.76),
    ),
    ("PCA", "regdb"): (
        8,
        (86.12, 93.11, 95.97, 82.96, 73.16),
        (88.16, 93.59, 95.73, 82.53, 70.20),
    ),
}


@pytest.mark.parametrize(("method", "dataset"), ROWS_OF)
def test_rows_of_readmes_are_numbered_and_as_printed(method, dataset):
    number, *cells = ROWS_OF[method, dataset]
    own = row(dataset, method)
    assert list(own.each) == list(range(10) if dataset == "sysu" else range(1, 11))
    assert [tuple(own.each[number][mode].values()) for mode in MODES[dataset]] == cells
    for scores_ in own.each.values():
        assert {mode: list(figures) for mode, figures in scores_.items()} == {
            mode: list(figures) for mode, figures in own.scores.items()
        }


def test_rows_are_given_by_these_readmes_and_bmils_log_alone():
    given = {(own.method, own.dataset) for own in PUBLISHED if own.each}
    assert given == {*ROWS_OF, ("BMIL", "sysu")}


FURTHER = {  # printed average, mean of the printed rows
    ("RPNR", "sysu", "indoor", "rank1"): (68.46, 68.454),
    ("PCA", "regdb", "visible_to_infrared", "mINP"): (72.33, 72.337),
    ("PCA", "regdb", "infrared_to_visible", "rank10"): (94.05, 94.058),
}


def test_printed_averages_are_means_of_the_printed_rows_but_three():
    """Rounded rows and a rounded average can lie 0.01 apart; all but three lie within 0.005."""
    found = {}
    for own in (own for own in PUBLISHED if own.each):
        for mode, figures in own.scores.items():
            for metric, printed in figures.items():
                if metric not in own.each[min(own.each)].get(mode, ()):
                    continue  # BMIL's log: Rank-1 and mAP of all-search
                mean = sum(each[mode][metric] for each in own.each.values()) / len(own.each)
                assert abs(mean - printed) < 0.01
                if round(abs(mean - printed), 6) > 0.005:
                    found[own.method, own.dataset, mode, metric] = (printed, round(mean, 3))
    assert found == FURTHER


# --- competitors ---


def test_competitors_have_a_venue_and_no_command():
    quoted = [
        own for own in PUBLISHED if "as quoted in PCLHD" in own.source or "as given" in own.source
    ]
    assert all(re.fullmatch(r"[A-Za-z ]+ (19|20)\d\d", own.venue) for own in quoted)
    held = {own.method for own in quoted if own.runs}
    assert held == {"ADCA", "PGM", "MMM"}


def test_table_2_of_cmam_is_whole():
    """Rank-1 all-search or visible to infrared of its twelve rows on three datasets."""
    printed = {
        "HOG": (3.7, 52.9, 5.7), "GLT": (15.7, 12.8, 10.5), "ICE": (23.3, 11.6, 21.5),
        "MMT": (17.0, 31.4, 10.8), "DML": (51.2, 80.8, 44.2), "H2H": (30.2, 23.8, None),
        "OTLA": (29.9, 32.9, None), "ADCA": (45.5, 67.2, None), "CHCR": (47.7, 68.2, None),
        "PGM": (57.3, 69.5, None), "GUR*": (61.0, 73.9, 42.2), "CMAM-UDA": (62.0, 89.1, 51.4),
    }  # fmt: skip
    for method, figures in printed.items():
        for dataset, figure in zip(("sysu", "regdb", "sysu02"), figures, strict=True):
            found = {
                own.scores[MODES[dataset][0]]["rank1"]
                for own in published(dataset)
                if (own.method, own.row, own.kind, own.labels) == (method, "", "paper", "none")
            }
            assert found == ({figure} if figure else set())


def test_the_infrared_queries_of_h2h_are_cmams():
    """PCLHD's Table 1 has no figure there; CMAM-UDA's Table II has 14.1/31.9/12.3."""
    own = row("regdb", "H2H")
    assert own.scores["infrared_to_visible"] == {"rank1": 14.1, "rank10": 31.9, "mAP": 12.3}
    assert "infrared to visible: there alone" in own.source


# --- who is compared ---


@functools.cache
def parsed(dataset, words):
    options = parse(dataset, words.split())
    found = configuration_of(options)
    stage = (options.stages or list(found["changes"]))[-1]
    images = {"dataset": dataset, "digest": "", "complete": True, "rendered": False, "leak": False}
    return {
        "method": options.method,
        "variant": options.variant,
        "stage": stage,
        "epoch": found["ends"][stage],
        "images": images,
        **found,
    }


def names(dataset, words, **more):
    """Rows of a run's own configuration."""
    return [entry.name for entry in references(parsed(dataset, words) | more, dataset).own]


AT_ONCE = (
    "--method pclhd --variant paper --stages progressive --start-from pretrained --epochs 100 "
    "--match-from 50"
)
ADDED = "--centroid-weight 1 --cross-hard-weight 0"
CMAM = "--method cmam --source data/Market-1501"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--method pclhd --seed 3 --print-freq 1 --draws 2", "PCLHD, paper"),
        ("--method pclhd --variant paper --name other", "PCLHD, paper"),
        ("--method pclhd --association mmm", "PCLHD+MMM, paper"),
        (f"{AT_ONCE} --no-hpcl", "PCLHD, + DPCL, paper"),
        (f"{AT_ONCE} {ADDED} --no-dpcl", "PCLHD, + HPCL, paper"),
        (f"{AT_ONCE} {ADDED}", "PCLHD, + HPCL + DPCL, paper"),
        ("--method rpnr --stage1 baseline/sysu_s1/model_best.pth.tar", "RPNR, upstream README"),
        ("--method sdcl --pretrained elsewhere/vit_base_ics_cfs_lup.pth", "SDCL, upstream log"),
        (f"{CMAM} --stages pretrain selftrain", "CMAM-UDA, paper"),
        (
            f"{CMAM} --stages selftrain --sp selftrain=off --pp selftrain=off",
            "CMAM-UDA, UDA1, paper",
        ),
        (f"{CMAM} --stages selftrain --pair rgb-rgb --relation-mode symmetric", "DML, paper"),
        (
            f"{CMAM} --stages finetune --labelled 0.3",
            "CMAM-UDA, 30% of the identities labelled, paper",
        ),
    ],
)
def test_a_run_is_compared_with_the_rows_of_its_own_flags(words, expected):
    assert names("sysu", words)[0] == expected


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--method pclhd --no-hpcl", "--no-hpcl"),
        (  # another reading of Table 2
            f"{AT_ONCE} --match-from 0",
            "--variant paper, --epochs progressive=100, --start-from pretrained",
        ),
        ("--method pclhd --precision bf16", "--precision bf16"),
        ("--method pclhd --height 256", "--height 256"),
        ("--method pclhd --stages intra", "stage intra in place of progressive"),
        ("--method pgm --variant v2024", "--variant v2024"),
        (
            "--method pgm --eps 0.5 --epochs cross=30",
            "--epochs cross=30, --eps cross=0.5 intra=0.5",
        ),
        ("--method pgm --start-from last", "--start-from last"),
        ("--method pgm --pretrained other.pth", "--pretrained other.pth"),
        ("--method rpnr --stages robust --start-from cycle", "--start-from cycle"),
        (f"{CMAM} --stages selftrain --precision fp32", "--precision fp32"),
        (f"{CMAM} --stages selftrain --source-format folder", "--source-format folder"),
    ],
)
def test_another_configuration_is_compared_with_none_and_says_why(words, why):
    found = references(parsed("sysu", words), "sysu")
    assert found.own == ()
    assert found.note == (
        f"no published configuration ({why}): no difference is shown; the published rows are those "
        "of the method as it is"
    )
    method = words.split()[1]
    assert found.rows == published("sysu", AS_IT_IS[method])


def test_other_images_and_datasets_have_no_references():
    usual = parsed("sysu", "--method pclhd")
    assert references(usual, "sysu").own
    for fact in ({"complete": False}, {"rendered": True}, {"leak": True}, {"dataset": "llcm"}):
        assert references(usual | {"images": usual["images"] | fact}, "sysu").rows == ()
    assert references(usual, "regdb").rows == ()
    assert references({key: usual[key] for key in usual if key != "changes"}, "sysu").rows == ()
    assert references({key: usual[key] for key in usual if key != "images"}, "sysu").rows == ()


def test_a_method_without_published_figures_has_no_note():
    found = references(parsed("sysu", "--method supervised --epochs 3"), "sysu")
    assert (found.rows, found.note) == ((), "")
    assert references(parsed("sysu02", "--method pgm"), "sysu02").note == ""


def test_an_unfinished_run_is_not_compared():
    found = references(parsed("sysu", "--method pclhd") | {"epoch": 12}, "sysu")
    assert (found.own, found.rows) == ((), published("sysu", PCLHD))
    assert found.note == "stage progressive stands at epoch 12 of 49: no difference is shown"


def test_the_authors_first_stage_of_rpnr_is_that_of_sysu_mm01():
    given = RPNR.but("--start-from baseline/sysu_s1/model_best.pth.tar")
    assert [given in own.runs for own in PUBLISHED if own.method == "RPNR"] == [True, False]

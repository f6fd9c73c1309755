"""The page that compares runs: numbers against naive ones, queries shown, a look with Chromium.

Mutations seen to fail: differences taken the wrong way round, intervals over identities in the
place of those over queries, queries of one identity shown twice or of no change, the baseline's
list shown for both models, identities of the first queries instead of those with a correct image.
"""

import dataclasses
import re

import browser
import numpy as np
import pytest
from test_page import CONFIG, EPOCHS, HOSTILE, Grids, content_of, place_of

from clustercontrast.evaluation.bootstrap import intervals
from clustercontrast.evaluation.protocols import score
from clustercontrast.report import pictures
from clustercontrast.report.compare_page import Content, Run, page, write_comparison

NAMES = {"rank1": 10.0, "rank5": 20.0, "rank10": 30.0, "rank20": 40.0, "mAP": 15.0, "mINP": 5.0}


def unanswered(search):
    """The search whose first query has no image left to find."""
    none = np.zeros((len(search.query_rows), len(search.gallery_rows)), bool)
    excluded = none if search.excluded is None else np.array(search.excluded)
    excluded[0] = True
    return dataclasses.replace(search, excluded=excluded)


def run_of(label, content, features, **config):
    row = {"searches": 10} | {name: {"mean": x, "std": 0.5} for name, x in NAMES.items()}
    about = CONFIG["about"] | {"images": {"digest": "aa"}, "name": f"run{label}"}
    return Run(
        label=label,
        name=f"pclhd run{label}",
        model="last epoch",
        config=CONFIG | {"about": about, "values": CONFIG["values"] | config},
        epochs=EPOCHS,
        results=dict.fromkeys(content.headings, row),
        images=content.images,
        features=features,
    )


@pytest.fixture(scope="module")
def compared():
    """The weak model is A, the strong one B; C is A again.  The first query is never answered."""
    cameras = {"visible": [1, 2, 4, 5], "infrared": [3, 6]}
    content = content_of("sysu", people=12, cameras=cameras, per=2)
    before, after = (model.features for model in content.models)
    return Content(
        dataset="SYSU-MM01",
        warnings=["<rendered> identities"],
        runs=[
            run_of("A", content, before),
            run_of("B", content, after, lr=0.5),
            run_of("C", content, before),
        ],
        headings=content.headings,
        searches={mode: unanswered(own) for mode, own in content.searches.items()},
        draw="draw 0",
        seed=4,
    )


@pytest.fixture(scope="module")
def text(compared):
    return page(compared)


def precisions(run, search):
    """Query by query, in loops: AP and identity of those that have a correct image."""
    found = []
    for i, row in enumerate(search.query_rows):
        person = run.images[search.query].index.identities[row]
        ranked = []
        for j, other in enumerate(search.gallery_rows):
            if search.excluded is None or not np.asarray(search.excluded)[i, j]:
                query = run.features[search.query][row].astype(np.float64)
                likeness = query @ run.features[search.gallery][other].astype(np.float64)
                same = run.images[search.gallery].index.identities[other] == person
                ranked.append((-likeness, j, same))
        hits = [rank for rank, (*_, same) in enumerate(sorted(ranked), start=1) if same]
        if hits:
            found.append((np.mean([n / r for n, r in enumerate(hits, start=1)]), person))
    return np.array(found)


def test_words_hold_the_difference_and_both_intervals(compared, text):
    lines = re.findall(r"<li>(\w+ search), <b>(.) − A: (.*?) mAP</b> (.*?)</li>", text)
    assert [line[:2] for line in lines] == [
        (heading, run) for heading in compared.headings.values() for run in "BC"
    ]
    a, b, _ = compared.runs
    for (_, _, shown, said), search in zip(lines[::2], compared.searches.values(), strict=True):
        (before, people), (after, _) = (precisions(run, search).T for run in (a, b))
        change = 100 * (after - before)[:, None]
        assert float(shown.replace("−", "-")) == pytest.approx(change.mean(), abs=0.051)
        over = [intervals(change, own, 4)[0] for own in (np.arange(len(change)), people)]
        ends = [f"{low:.1f} to {high:.1f}".replace("-", "−") for low, high in over]
        assert said.startswith(
            f"(95 % interval {ends[0]} over {len(change)} queries, {ends[1]} over their "
            f"{len(set(people))} identities, draw 0): "
        )
        assert min(over[0]) > 0
        assert "0 lies outside of" in said
    for _, _, shown, said in lines[1::2]:
        assert (shown, said[:27]) == ("+0.0", "(95 % interval 0.0 to 0.0 o")
        assert "both hold 0" in said


def test_the_table_has_every_measure_of_both_models(compared, text):
    inner = text[text.index("<h3>Differences, draw 0</h3>") :].split("</table>")[0]
    rows = [re.findall(r"<td.*?>(.*?)</td>", row) for row in inner.split("<tr")[2:]]
    lists = {name: array.index for name, array in compared.runs[0].images.items()}
    expected = []
    for mode, search in compared.searches.items():
        for run in compared.runs[1:]:
            found = [score(search, lists, own.features) for own in (compared.runs[0], run)]
            pairs = [(one.mAP, one.cmc[0], one.mINP) for one in found]
            for measure, one, other in zip(("mAP", "Rank-1", "mINP"), *pairs, strict=True):
                numbers = f"{100 * one:.2f}", f"{100 * other:.2f}"
                change = f"{100 * (other - one):+.2f}".replace("-", "−")
                expected.append(
                    [compared.headings[mode], f"{run.label} − A", measure, *numbers, change]
                )
    assert [row[:6] for row in rows] == expected
    assert text.count("15.00 ± 0.50") == 2 * 3


def test_queries_that_changed_most_stand_with_both_answers(compared, text):
    grids, a = Grids(text), compared.runs[0]
    by_grid = np.split(np.array(grids.precisions), np.cumsum([len(g) - 1 for g in grids.grids]))
    assert len(grids.grids) == 4  # of B, both ways in both searches
    assert text.count("No query.") == 4  # of C
    searches = [search for search in compared.searches.values() for _ in range(2)]
    for number, search in enumerate(searches):
        rows, (one, other) = grids.rows(number), by_grid[number].reshape(-1, 2).T
        change = (other - one) * (-1) ** number
        assert (change > 0).all()
        assert (np.diff(change) <= 0.11).all()  # as rounded there
        people = []
        for i in range(0, len(rows), 2):
            for row, run in zip(rows[i : i + 2], compared.runs, strict=False):
                (_, query), *answer = row
                assert place_of(query) == place_of(rows[i][0][1])
                place = search.query_rows.tolist().index(place_of(query)[1])
                excluded = search.excluded is not None and np.asarray(search.excluded)[place]
                unit = run.features[search.query][search.query_rows[place]].astype(np.float64)
                likeness = run.features[search.gallery][search.gallery_rows] @ unit
                order = np.argsort(np.where(excluded, np.inf, -likeness), kind="stable")
                shown = [place_of(image)[1] for _, image in answer]
                assert shown == search.gallery_rows[order[: len(shown)]].tolist()
            people.append(a.images[search.query].index.identities[place_of(rows[i][0][1])[1]])
        assert len(people) == len(set(people)) <= 3


def test_bars_count_the_queries_that_changed():
    change = np.array([-60.0, -1.0, 0.0, 0.0, 2.0, 3.0, 100.0])
    (axes,) = pictures.changes(change, ("B", "A"), "All search").axes
    heights = [bar.get_height() for bar in axes.patches]
    better, worse = np.array(heights).reshape(2, -1)
    assert (better.sum(), worse.sum()) == (3, 2)
    assert (better[:20].sum(), worse[20:].sum()) == (0, 0)
    assert better[20] == 2  # 0 to 5
    labels = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert labels == ["B better", "A better", "mean +6.3"]


def test_what_differs_is_listed(text):
    section = text[text.index('<section id="differences">') :].split("</section>")[0]
    assert section.count("--lr</td>") == 1
    values = re.findall(r'class="(?:number|value)?" data-name="([ABC])">(.*?)<', section)
    assert values == [("A", "0.00035"), ("B", "0.5"), ("C", "0.00035")]
    assert section.count("No difference.") == 2
    assert "<details>" not in section


def test_hostile_names_stay_text_and_flags_of_some_methods_alone_are_folded(compared):
    a, b, _ = compared.runs
    config = b.config | {"values": b.config["values"] | {"hinge": 0.2}}
    runs = [dataclasses.replace(own, name=HOSTILE, epochs=EPOCHS[:1]) for own in (a, b)]
    runs[1] = dataclasses.replace(runs[1], config=config)
    one = dict([*compared.searches.items()][:1])
    small = dataclasses.replace(
        compared, runs=runs, draw=HOSTILE, searches=one, headings=dict.fromkeys(one, HOSTILE)
    )
    text = page(small)
    assert "<script" not in text
    folded = text.split("<details>")[1]
    assert "Flags that not all of the methods have: 1<" in folded
    assert folded.index("--hinge") < folded.index("</details>")


def test_the_page_is_whole_safe_and_the_same_every_time(compared, text, tmp_path):
    write_comparison(compared, tmp_path / "compare.html")
    assert (tmp_path / "compare.html").read_text(encoding="utf-8") == text
    assert text.index("&lt;rendered&gt; identities") < text.index("<h1>")
    assert "pclhd runB and pclhd runC against pclhd runA on SYSU-MM01" in text
    assert set(re.findall(r'(?:src|srcset)="(\w+):', text)) == {"data"}
    _, console = browser.load(tmp_path, text)
    assert console == []


def test_nothing_is_cut_in_a_narrow_window(text, tmp_path):
    script = """(document) => ({
      cut: [...document.querySelectorAll(".results")].map((table) =>
        table.parentNode.scrollWidth - table.parentNode.clientWidth),
      overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    })"""
    found = browser.probe(tmp_path, text, script, 390)
    assert max(found["cut"]) <= 0
    assert found["overflow"] <= 0

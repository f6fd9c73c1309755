"""The page of a run: framing, banner, escaping, determinism, and a look with headless Chromium.

Mutations seen to fail: frames exchanged, the model before training ranked, text left unescaped, a
plot with the time in it, configuration in recipe order, an image that is no image, a script; cards
of other numbers, the wide form of a plot in a narrow window, a table that is cut there.
"""

import dataclasses
import re
from html.parser import HTMLParser

import browser
import numpy as np
import pytest
from test_retrievals import hand_made, image_list

from clustercontrast.data.images import ImageArray
from clustercontrast.evaluation.protocols import PROTOCOLS, score
from clustercontrast.report import pictures
from clustercontrast.report.figures import PANELS
from clustercontrast.report.forms import Table
from clustercontrast.report.grids import grid
from clustercontrast.report.page import Content, Model, page, scores_of, write_page
from clustercontrast.report.pictures import overlaid
from clustercontrast.report.retrievals import Ranking

HOSTILE = """<script>alert("'&")</script>"""
NOTE = "rendered identities: not a SYSU-MM01 result"
LEAK = "<test> identities were trained on"
TABLE = Table(
    title="PCLHD & more",
    dataset="SYSU-MM01",
    header=("search", "model", "Rank-1", "mAP"),
    rows=(
        ("all", "chance", "1.00 ± 0.10", ""),
        ("all", "last epoch", "31.25 ± 0.50", "30.1"),
        ("indoor", "last epoch", "41.25", "–"),
    ),
    notes=("percent over 10 draws", NOTE),
    content={},
)
EPOCHS = [
    {
        "event": "epoch",
        "stage": stage,
        "epoch": epoch,
        "loss": {"visible": 3.0 - epoch, "total": 6.0 - epoch},
        "clusters": {"visible": {"clusters": 9, "outliers": 0.1, "ari": 0.4, "nmi": 0.6}},
        "scores": {"rank1": 20.0 + epoch},
    }
    for stage in ("intra", "progressive")
    for epoch in range(2)
]
CONFIG = {
    "about": {"method": "pclhd", "dataset": "sysu"},
    "command": f"train_sysu.py --name {HOSTILE}",
    "values": {
        "lr": 3.5e-4,
        "epochs": {"intra": 2, "progressive": 4},
        "eps_visible": None,
        "dpcl": True,
        "name": HOSTILE,
        "stages": ["intra"],
    },
    "origins": {"lr": "*/*", "epochs": "pclhd/*", "dpcl": "pclhd/*", "name": "command line"},
    "versions": {"torch": "2.14", "git": "0123abc"},
}


def images_of(people, cameras, per):
    """Every person has ``per`` images from every camera."""
    rng = np.random.default_rng(len(cameras["visible"]))
    found = {}
    for name, own in cameras.items():
        identities = np.repeat(np.arange(1, people + 1), per * len(own))
        images = image_list(name, identities, np.tile(np.repeat(own, per), people))
        pixels = rng.integers(0, 256, (len(images), 32, 16, 3)).astype(np.uint8)
        found[name] = ImageArray(images, pixels)
    return found


def models_of(images, used):
    """Features that training brought together; NaN where no search looks."""
    rng = np.random.default_rng(7)
    people = rng.standard_normal((20, 24))
    models = []
    for label, noise in (("initial weights (--pretrained)", 2.5), ("last epoch", 1.2)):
        features = {}
        for name, array in images.items():
            identities = array.index.identities
            rows = people[identities] + noise * rng.standard_normal((len(array), 24))
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            rows[~np.isin(np.arange(len(rows)), used[name])] = np.nan
            features[name] = rows.astype(np.float32)
        models.append(Model(label, features))
    return models


def results_of(models, modes, searches):
    """Rows as a test writes them; no two numbers are alike."""
    numbers = iter(np.arange(1, 60) + 0.125)
    return [
        {"model": model.label, "mode": mode, "searches": searches}
        | {name: {"mean": next(numbers), "std": 0.5} for name in ("rank1", "mAP", "mINP")}
        for mode in modes
        for model in models
    ]


def content_of(dataset, people, cameras, per, warnings=()):
    images = images_of(people, cameras, per)
    protocol = PROTOCOLS[dataset]
    lists = images["visible"].index, images["infrared"].index
    searches = {mode: protocol.search(*lists, mode, 0) for mode in protocol.modes}
    used = {
        name: np.concatenate(
            [
                rows
                for search in searches.values()
                for modality, rows in (
                    (search.query, search.query_rows),
                    (search.gallery, search.gallery_rows),
                )
                if modality == name
            ]
        )
        for name in images
    }
    models = models_of(images, used)
    results = results_of(models, protocol.modes, protocol.draws)
    return Content(
        title="PCLHD, seed1, stage progressive",
        table=dataclasses.replace(TABLE, content={"results": results}),
        warnings=warnings,
        epochs=EPOCHS,
        config=CONFIG,
        images=images,
        headings=protocol.modes,
        searches=searches,
        before=models[0],
        after=models[1],
    )


@pytest.fixture(scope="module")
def sysu():
    cameras = {"visible": [1, 2, 4, 5], "infrared": [3, 6]}
    return content_of("sysu", people=12, cameras=cameras, per=2, warnings=[NOTE, LEAK])


@pytest.fixture(scope="module")
def regdb():
    return content_of("regdb", people=8, cameras={"visible": [1], "infrared": [2]}, per=3)


@pytest.fixture(scope="module")
def sysu_page(sysu):
    return page(sysu)


@pytest.fixture(scope="module")
def regdb_page(regdb):
    return page(regdb)


@pytest.fixture(params=["sysu", "regdb"])
def shown(request):
    """Content and page of both kinds of searches."""
    return request.getfixturevalue(request.param), request.getfixturevalue(f"{request.param}_page")


class Grids(HTMLParser):
    """Tables of class "ranking": a list of rows, each a list of (class of the figure, image)."""

    def __init__(self, text):
        super().__init__()
        self.grids, self.precisions, self.figure, self.inside = [], [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "table":
            self.inside = attrs.get("class") == "ranking"
            if self.inside:
                self.grids.append([])
        elif self.inside and tag == "tr":
            self.grids[-1].append([])
        elif self.inside and tag == "figure":
            self.figure = attrs["class"]
        elif self.inside and tag == "img":
            self.grids[-1][-1].append((self.figure, attrs))

    def handle_data(self, data):
        if self.inside and self.lasttag == "b" and "%" in data:
            self.precisions.append(float(data.strip("\xa0% ")))

    def rows(self, number):
        return self.grids[number][1:]  # the first has the heads


def place_of(image):
    """Modality and row of an image on the page, by its path."""
    modality, row = re.match(r"(visible|infrared)/(\d+)\.jpg", image["title"]).groups()
    return modality, int(row)


def placed(shown):
    """Every grid with its search: first those of the retrievals, then those of the failures."""
    content, text = shown
    return list(zip([*content.searches.values()] * 2, range(4), strict=True)), Grids(text)


def test_frames_say_whether_the_person_is_right(shown):
    content, _ = shown
    pairs, grids = placed(shown)
    seen = set()
    for search, number in pairs:
        for (_, query), *answer in grids.rows(number):
            modality, row = place_of(query)
            assert modality == search.query
            person = content.images[modality].index.identities[row]
            for kind, image in answer:
                modality, row = place_of(image)
                assert modality == search.gallery
                same = content.images[modality].index.identities[row] == person
                assert kind == ("shown right" if same else "shown wrong")
                assert ("right" if same else "wrong") in image["alt"]
                seen.add(kind)
    assert len(seen) == 2


def test_answers_are_the_ten_most_similar_images_that_are_ranked(shown):
    content, _ = shown
    pairs, grids = placed(shown)
    left_out = 0
    for search, number in pairs:
        features = content.after.features
        similarity = features[search.query][search.query_rows].astype(np.float64)
        similarity = similarity @ features[search.gallery][search.gallery_rows].T
        excluded = np.zeros(similarity.shape, bool)
        if search.excluded is not None:
            excluded |= search.excluded
        for (_, query), *answer in grids.rows(number):
            position = search.query_rows.tolist().index(place_of(query)[1])
            kept = np.flatnonzero(~excluded[position])
            best = kept[np.argsort(-similarity[position, kept], kind="stable")][:10]
            shown_rows = [place_of(image)[1] for _, image in answer[: len(best)]]
            assert shown_rows == search.gallery_rows[best].tolist()
            left_out += excluded[position].sum()
    assert (left_out > 0) == ("indoor" in content.headings)


def test_failures_have_the_lowest_precision_and_end_with_the_first_right_image(shown):
    pairs, grids = placed(shown)
    by_grid = np.split(np.array(grids.precisions), np.cumsum([len(g) - 1 for g in grids.grids]))
    for _, number in pairs[2:]:
        precisions = by_grid[number]
        assert (np.diff(precisions) >= 0).all()
        assert precisions.max() <= by_grid[number - 2].max()
        for _, *answer in grids.rows(number):
            kind, image = answer[-1]
            assert kind == "shown right"
            rank = int(re.search(r"rank (\d+), right", image["alt"]).group(1))
            before = [kind for kind, _ in answer[: min(rank - 1, 10)]]
            assert set(before) <= {"shown wrong"}
    for number in (0, 1):
        assert (np.diff(by_grid[number]) <= 0).all()


def test_a_short_answer_keeps_its_columns():
    search, lists, features = hand_made([[0.9, 0.8, 0.7]], [1], [2, 1, 1], [[1, 0, 0]])
    images = {
        name: ImageArray(own, np.zeros((3, 8, 4, 3), np.uint8)) for name, own in lists.items()
    }
    text = grid(Ranking(search, lists, features), [0], images, first=True)
    assert [kind for kind, _ in Grids(text).rows(0)[0]] == ["shown", *3 * ["shown right"]]
    assert text.count("<td></td>") == 8
    assert text.count("<td") + 1 == text.count('<th scope="col"') == 13
    assert ">0.80<br>rank 1<" in text


def test_cards_hold_the_means_over_all_draws(shown):
    """Those of both models, and not of the draw whose retrievals are shown."""
    content, text = shown
    card = r'class="name">([\w-]+)<.*?class="now">([\d.]+)<.*?">([\d.]+) % .*?, ([+-][\d.]+)<'
    old, new = (
        next(row for row in content.table.content["results"] if row["model"] == model.label)
        for model in content.models
    )
    assert re.findall(card, text) == [
        (name, f"{b:.1f}", f"{a:.1f}", f"{b - a:+.1f}")
        for name, a, b in (
            ("Rank-1", old["rank1"]["mean"], new["rank1"]["mean"]),
            ("mAP", old["mAP"]["mean"], new["mAP"]["mean"]),
            ("mINP", old["mINP"]["mean"], new["mINP"]["mean"]),
        )
    ]
    is_drawn = "indoor" in content.headings
    assert text.count("± 0.5 over the 10 gallery draws") == 3 * is_drawn
    assert text.count("are of the first gallery draw (draw 0)") == is_drawn


def test_curves_of_the_cmc_hold_the_scores_of_the_search(shown):
    content, _ = shown
    mode, search = next(iter(content.searches.items()))
    lists = {name: array.index for name, array in content.images.items()}
    old, new = (score(search, lists, model.features) for model in content.models)
    shares = {
        label: {name: one.cmc for name, one in own.items()}
        for label, own in scores_of(content).items()
    }
    (axes,) = pictures.cmc(shares, content.headings).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert len(lines) == 4
    for model, cmc in zip(content.models, (old.cmc, new.cmc), strict=True):
        line = lines[f"{content.headings[mode]}, {model.label}"]
        np.testing.assert_allclose(line.get_ydata(), 100 * cmc)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 21))
    modes = [lines[f"{h}, last epoch"].get_linestyle() for h in content.headings.values()]
    assert len(set(modes)) == 2


def test_the_gap_between_the_means_is_written_out(shown):
    content, text = shown
    search = next(iter(content.searches.values()))
    text = text[text.index('<section id="distances">') :]
    for model in content.models:
        queries = model.features[search.query][search.query_rows].astype(np.float64)
        gallery = model.features[search.gallery][search.gallery_rows].astype(np.float64)
        excluded = search.excluded if search.excluded is None else np.asarray(search.excluded)
        same, different = [], []
        for i, row in enumerate(search.query_rows):
            for j, other in enumerate(search.gallery_rows):
                if excluded is not None and excluded[i, j]:
                    continue
                one = content.images[search.query].index.identities[row]
                two = content.images[search.gallery].index.identities[other]
                (same if one == two else different).append(1 - queries[i] @ gallery[j])
        numbers = np.mean(same), np.mean(different), np.mean(different) - np.mean(same)
        row = re.search(f'<td data-name="model">{re.escape(model.label)}</td>(.*?)</tr>', text)
        cells = re.findall(r'<td class="number" data-name="[\w ,]+">(.*?)</td>', row.group(1))
        assert cells == [f"{number:.3f}" for number in numbers]


def test_the_same_run_gives_the_same_bytes(sysu, sysu_page, tmp_path):
    write_page(sysu, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == sysu_page.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_hostile_names_stay_text(sysu):
    lists = sysu.images["visible"].index
    hostile = dataclasses.replace(lists, paths=tuple(f'{i}"><script>' for i in range(len(lists))))
    images = sysu.images | {"visible": ImageArray(hostile, sysu.images["visible"].pixels)}
    numbers = sysu.table.content
    table = Table(HOSTILE, HOSTILE, (HOSTILE,), ((HOSTILE,),), (HOSTILE,), content=numbers)
    text = page(
        dataclasses.replace(sysu, title=HOSTILE, warnings=[HOSTILE], images=images, table=table)
    )
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(&quot;&#x27;&amp;&quot;)") >= 8
    assert "&quot;&gt;&lt;script&gt;" in text


def test_nothing_is_fetched(shown):
    _, text = shown
    sources = re.findall(r'(?:src|href|action|data)="([^"]*)"', text)
    assert len(sources) > 60
    assert {source.split(":")[0].split("/")[0] for source in sources if source[0] != "#"} == {
        "data"
    }
    assert not re.search(r"url\(|@import|<script|<iframe|<object|http-equiv=.refresh", text)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    anchors = {source[1:] for source in sources if source[0] == "#"}
    assert anchors == set(re.findall(r'<section id="(\w+)"', text))


def test_other_images_than_official_ones_are_announced_first(sysu_page, regdb_page):
    for said in ("Rendered identities: not a SYSU-MM01 result", "&lt;test&gt; identities were"):
        banner = f'class="banner" role="note">{said}'
        assert sysu_page.index(banner) < sysu_page.index("<h1>")
    assert 'class="banner"' not in regdb_page


def test_the_table_is_shown_whole(sysu_page):
    inner = sysu_page[sysu_page.index('<table class="results"') :].split("</table>")[0]
    rows = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in inner.split("<tr")[1:]]
    first, *others = TABLE.rows
    dashed = (*first[:-1], "–")  # a number that is not known
    assert tuple(map(tuple, rows)) == (TABLE.header, dashed, *others)
    assert '<td class="number" data-name="Rank-1">31.25 ± 0.50</td>' in inner
    assert '<td data-name="model">last epoch</td>' in inner
    assert inner.count('class="group"') == 1
    for note in TABLE.notes:
        assert f"<li>{note}</li>" in sysu_page


def test_every_panel_of_the_curves_is_there(sysu_page):
    for panel in PANELS:
        assert sysu_page.count(f'alt="{panel.title} over the epochs"') == 1


def test_configuration_shows_values_origins_and_what_was_given_first(sysu_page):
    inner = sysu_page[sysu_page.index('<table class="config"') :]
    rows = re.findall(
        r'<tr( class="given")?><td class="flag">(.*?)</td><td>(.*?)</td><td>(.*?)</td>', inner
    )
    given, *others = rows
    escaped = "&lt;script&gt;alert(&quot;&#x27;&amp;&quot;)&lt;/script&gt;"
    assert given == (' class="given"', "--name", escaped, "command line")
    assert others == [
        ("", "--lr", "0.00035", "*/*"),
        ("", "--epochs", "intra: 2, progressive: 4", "pclhd/*"),
        ("", "--eps-visible", "–", ""),
        ("", "--dpcl", "on", "pclhd/*"),
        ("", "--stages", "intra", ""),
    ]
    command = re.search("<pre>(.*?)</pre>", sysu_page).group(1)
    assert re.sub("</?span>", "", command) == f"train_sysu.py --name {escaped}"
    assert "<dt>git</dt><dd>0123abc</dd>" in sysu_page


# --- activation maps ---


def heat(modality, rows, towards):
    """One warm cell per image, in the column that the first number of the feature names."""
    maps = np.zeros((len(rows), 4, 2), np.float32)
    maps[np.arange(len(rows)), 1, (towards[:, 0] > 0).astype(int)] = 1
    maps[0] = 0
    return maps


@pytest.fixture(scope="module")
def mapped(sysu):
    """The page of the same run with activation maps, and what it asked for."""
    asked = []

    def asking(*words):
        asked.append(words)
        return heat(*words)

    return page(dataclasses.replace(sysu, heat=asking)), asked


def test_maps_have_a_section_of_their_own_if_they_are_asked_for(mapped, sysu_page):
    text, _ = mapped
    assert "activations" not in sysu_page
    section = text[text.index('<section id="activations">') :].split("</section>")[0]
    assert text == sysu_page.replace(
        '<section id="failures">', f'{section}</section>\n<section id="failures">'
    ).replace(
        '<a href="#failures">', '<a href="#activations">Activation maps</a><a href="#failures">'
    )
    assert "no proof" in section
    assert "last epoch" in section


def test_each_side_of_a_pair_is_mapped_towards_the_other(mapped, sysu):
    """The queries of the ranked retrievals and the first of their ten answers."""
    text, asked = mapped
    grids = Grids(text)
    section = text[text.index('<section id="activations">') :].split("</section>")[0]
    pairs = re.findall(r'<div class="pair">(.*?)</div>', section, re.DOTALL)
    assert len(pairs) == 2 * 6
    features = sysu.after.features
    for number, search in enumerate(sysu.searches.values()):
        left, right = asked[2 * number : 2 * number + 2]
        assert (left[0], right[0]) == (search.query, search.gallery)
        np.testing.assert_array_equal(left[2], features[search.gallery][right[1]])
        np.testing.assert_array_equal(right[2], features[search.query][left[1]])
        rows = grids.rows(number)
        assert [place_of(row[0][1])[1] for row in rows] == left[1].tolist()
        assert [place_of(row[1][1])[1] for row in rows] == right[1].tolist()
        for row, pair in zip(rows, pairs[6 * number : 6 * number + 6], strict=True):
            kind = row[1][0].removeprefix("shown ")
            assert f'<figure class="{kind}">' in pair
            assert pair.count("<img ") == 4
            assert [row[0][1]["src"] in pair, row[1][1]["src"] in pair] == [True, True]
        assert "query; empty map" in pairs[6 * number]
        assert "empty" not in pairs[6 * number + 1]


def test_a_map_colours_where_it_is_high_and_leaves_the_rest():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 20, 3)).astype(np.uint8)
    assert np.array_equal(overlaid(pixels, np.zeros((4, 2))), pixels)
    warm = np.zeros((4, 2), np.float32)
    warm[3, 1] = 1
    found = overlaid(pixels, warm)
    assert found.dtype == np.uint8
    assert np.array_equal(found[:25], pixels[:25])
    change = np.abs(found.astype(int) - pixels).sum(axis=2)
    assert change[30:, 10:].mean() > 5 * change[30:, :5].mean()
    red = overlaid(np.zeros((40, 20, 3), np.uint8), np.ones((4, 2)))
    assert (red[..., 0] > 2 * red[..., 1:].max(axis=2)).all()


# --- in a browser ---

LAYOUT = """(document) => {
  const box = (node) => {
    const r = node.getBoundingClientRect();
    return [r.left, r.top, r.width, r.height];
  };
  const all = (place, inside) => [...inside.querySelectorAll(place)];
  return {
    grids: all("table.ranking", document).map((grid) =>
      [...grid.tBodies[0].rows].map((row) => all("img", row).map(box))),
    images: [...document.images].map((image) => [image.complete, image.naturalWidth, image.alt]),
    cut: all(".wide", document).map((node) => node.scrollWidth - node.clientWidth),
    pairs: all(".pair", document).map((pair) => all("img", pair).map(box)),
    page: box(document.querySelector(".page")),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """For the files of a browser."""
    return tmp_path_factory.mktemp("browser")


def test_the_page_loads_without_a_word_on_the_console(folder, shown):
    _, text = shown
    dom, console = browser.load(folder, text)
    assert "How it was run" in dom
    assert console == []


def test_the_console_would_tell(folder, regdb_page):
    """The check above can fail: the page's own policy forbids the network and scripts."""
    for piece in ('<img src="https://example.org/a.png">', "<script>alert(1)</script>"):
        _, console = browser.load(folder, regdb_page.replace("</body>", f"{piece}</body>"))
        assert any("Content Security Policy" in line for line in console)


def test_every_image_shows_and_the_grids_are_laid_out_in_rows(folder, shown):
    content, text = shown
    found = browser.probe(folder, text, LAYOUT)
    assert len(found["images"]) == text.count("<img ")
    assert [image for image in found["images"] if not (image[0] and image[1] > 0)] == []
    assert len(found["grids"]) == 2 * len(content.headings)
    for number, rows in enumerate(found["grids"]):
        expected = 11 if number < len(content.headings) else 12
        assert len(rows) == 6
        tops = [row[0][1] for row in rows]
        assert (np.diff(tops) > 128).all()
        for row in rows:
            left, top, width, height = np.array(row).T
            assert len(row) == expected
            assert np.ptp(top) < 1
            assert (np.diff(left) >= width[:-1]).all()
            np.testing.assert_allclose(height, 128, atol=7)
            np.testing.assert_allclose((height - 6) / (width - 6), 2, atol=0.1)
    assert found["page"][2] <= 1100
    assert max(found["cut"], default=0) <= 0
    assert found["overflow"] <= 0


@pytest.mark.parametrize(("width", "beside"), [(390, 1), (1400, 3)])
def test_pairs_are_laid_out_for_narrow_and_wide_windows(folder, mapped, width, beside):
    """Four pictures in a row, each large enough to see where it is coloured."""
    text, _ = mapped
    found = browser.probe(folder, text, LAYOUT, width)
    assert found["overflow"] <= 0
    assert len(found["pairs"]) == 12
    assert [image for image in found["images"] if not (image[0] and image[1] > 0)] == []
    for pair in found["pairs"]:
        left, top, wide, tall = np.array(pair).T
        assert len(pair) == 4
        assert np.ptp(top) < 1
        assert (np.diff(left) >= wide[:-1]).all()
        assert wide.min() > 55
        np.testing.assert_allclose((tall - 6) / (wide - 6), 2, atol=0.1)
    tops = [pair[0][1] for pair in found["pairs"][:6]]
    assert tops.count(tops[0]) == beside


PLOTS = """(document) => ({
  plots: [...document.querySelectorAll(".plot")].map((plot) => {
    const [image, source] = ["img", "source"].map((name) => plot.querySelector(name));
    return [image.currentSrc === source.srcset, image.clientWidth / image.naturalWidth];
  }),
  cut: [...document.querySelectorAll(".results")].map((table) =>
    table.parentNode.scrollWidth - table.parentNode.clientWidth),
  named: [...document.querySelectorAll(".results td.number")].filter((cell) =>
    getComputedStyle(cell, "::before").content === `"${cell.dataset.name}"`).length,
  below: [...document.querySelectorAll(".results tbody tr")].map((row) => {
    const [name, number] = ["td:not(.number)", "td.number"].map((kind) => row.querySelector(kind));
    return number.getBoundingClientRect().top >= name.getBoundingClientRect().bottom;
  }),
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
})"""


@pytest.mark.parametrize(("width", "is_narrow"), [(390, True), (1280, False)])
def test_plots_and_numbers_are_legible_in_narrow_and_wide_windows(
    folder, sysu_page, width, is_narrow
):
    """Letters of a plot are drawn in about their own size; every number is on the screen."""
    found = browser.probe(folder, sysu_page, PLOTS, width)
    forms, scales = zip(*found["plots"], strict=True)
    assert forms == (is_narrow,) * (len(PANELS) + 3)
    assert min(scales) > (0.9 if is_narrow else 0.8)
    assert found["named"] == is_narrow * sysu_page.count('<td class="number"')
    assert set(found["below"]) == {is_narrow}
    assert max(found["cut"]) <= 0
    assert found["overflow"] <= 0


def test_a_broken_image_would_be_found(folder, regdb_page):
    start = "data:image/jpeg;base64,"
    broken = re.sub(rf"{start}[\w/+]{{40}}", start, regdb_page, count=1)
    images = browser.probe(folder, broken, LAYOUT)["images"]
    assert sum(width == 0 for _, width, _ in images) == 1

"""Pictures of the page of a run as data URIs: plots as SVG, images as JPEG.

The same input gives the same bytes.
"""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from clustercontrast.data.samples import MODALITIES
from clustercontrast.report.spaces import Distances, People, common_edges, density

HEIGHT = 192
"""Pixels of a thumbnail: half as many again as the page shows, for fine screens."""

QUALITY = 85
MARKERS = {"visible": "o", "infrared": "*"}  # as in PCLHD's Fig. 3
MODES = (("#0072b2", "-"), ("#d55e00", "--"), ("#009e73", "-."), ("#cc79a7", ":"))
"""Colour and line of every search mode."""

HEAT = "turbo"
OPACITY = 0.7
"""Colours of an activation map, and how much of an image its highest place hides."""

MAP = 5.5
"""Inches of the width of a map."""

COLUMN = 3.4
"""Inches of the width of a figure for narrow windows, which a phone shows in its own size."""

LEGEND = 0.2
"""Inches of a line of a legend."""

NEWLINE = {False: " ", True: "\n"}
"""Within a title, for wide and for narrow windows."""

CHANGES = np.linspace(-100, 100, 41)
"""Edges of the bins of changes, percent; no bin has queries of both signs."""

BETTER, WORSE = "#0072b2", "#d55e00"
SAME, DIFFERENT = "#0072b2", "#d55e00"
TEN = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#bcbd22",
    "#17becf",
)


def thumbnail(pixels: np.ndarray) -> str:
    """An image (H, W, 3) uint8 at the height of a thumbnail, its aspect kept."""
    height, width = pixels.shape[:2]
    size = max(1, round(width * HEIGHT / height)), HEIGHT
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=QUALITY)
    return _data_uri("image/jpeg", stream.getvalue())


def overlaid(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """An image with a map over it: warm where the map is high, the image itself where it is 0.

    Args:
        pixels: (H, W, 3) uint8.
        heat: (h, w) in [0, 1], of any size; it is enlarged bilinearly.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = pixels.shape[:2]
    small = Image.fromarray(np.asarray(heat, dtype=np.float32))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))
    colours = 255 * colormaps[HEAT](smooth)[..., :3]
    share = OPACITY * smooth[..., None]
    return np.rint((1 - share) * pixels + share * colours).astype(np.uint8)


def svg(figure: Figure) -> str:
    """A plot that needs no font: its letters are drawn."""
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "clustercontrast", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return _data_uri("image/svg+xml", stream.getvalue())


def cmc(
    models: Mapping[str, Mapping[str, np.ndarray]],
    headings: Mapping[str, str],
    is_narrow: bool = False,
) -> Figure:
    """CMC of two models, one line style per mode, the first model pale.

    Args:
        models: label -> mode -> (ranks,) shares in [0, 1], rank 1 first.
        headings: of the modes.
        is_narrow: for narrow windows.
    """
    lines = sum(map(len, models.values()))
    size = (COLUMN, 2.6 + LEGEND * lines) if is_narrow else (11, 4.2)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    for (label, shares), alpha, marker in zip(models.items(), (0.45, 1.0), "so", strict=True):
        for (mode, heights), (colour, line) in zip(shares.items(), MODES, strict=False):
            axes.plot(
                np.arange(1, len(heights) + 1),
                100 * heights,
                color=colour,
                linestyle=line,
                alpha=alpha,
                marker=marker,
                markersize=3.5,
                label=f"{headings[mode]}, {label}",
            )
    axes.set_xticks([1, *range(5, len(heights) + 1, 5)])
    axes.set_ylim(0, 101)
    axes.set_xlabel("rank k")
    axes.set_ylabel("queries found by rank k, %")
    if is_narrow:
        figure.legend(frameon=False, fontsize="small", loc="outside lower left")
    else:
        axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    calm(axes)
    return figure


def histograms(models: Mapping[str, Distances], is_narrow: bool = False) -> Figure:
    """Distances of same and different identities, a plot per model on common axes."""
    edges = common_edges(list(models.values()))
    size = (COLUMN, 2.6) if is_narrow else (5.5, 3.8)
    figure, plots = _side_by_side(len(models), size, is_narrow, sharex=True, sharey=True)
    for axes, (label, distances) in zip(plots, models.items(), strict=True):
        same, different = distances.means
        for name, values, mean, colour, line in (
            ("different identities", distances.different, different, DIFFERENT, "--"),
            ("same identity", distances.same, same, SAME, "-"),
        ):
            heights = density(values, edges)
            axes.stairs(heights, edges, fill=True, color=colour, alpha=0.3)
            axes.stairs(heights, edges, color=colour, linestyle=line, label=name)
            if len(values):
                axes.axvline(mean, color=colour, linestyle=line, linewidth=1.2)
        title = f"{label}:{NEWLINE[is_narrow]}means {distances.gap:.3f} apart"
        axes.set_title(title, loc="left", fontweight="bold", fontsize="medium")
        axes.set_xlabel("cosine distance, means marked")
        calm(axes)
    plots[0].set_ylabel("density")
    if is_narrow:
        figure.legend(
            *plots[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=2,
            frameon=False,
            fontsize="small",
        )
    else:
        plots[-1].legend(frameon=False, fontsize="small")
    return figure


def changes(
    change: np.ndarray, names: tuple[str, str], title: str, is_narrow: bool = False
) -> Figure:
    """How many queries changed their average precision by how much.

    Args:
        change: (n,) percent; queries without a change are left out.
        names: of the model, and of the one that it is compared with.
        title: of the plot.
        is_narrow: for narrow windows.
    """
    figure = Figure(figsize=(COLUMN, 2.8) if is_narrow else (5.4, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold", fontsize="medium")
    parts = ((change > 0, BETTER, f"{names[0]} better"), (change < 0, WORSE, f"{names[1]} better"))
    for chosen, colour, label in parts:
        axes.hist(change[chosen], CHANGES, color=colour, alpha=0.75, label=label)
    axes.axvline(0, color="0.3", linewidth=1)
    mean = change.mean()
    axes.axvline(
        mean,
        color="0.1",
        linestyle="--",
        linewidth=1.2,
        label=f"mean {mean:+.1f}".replace("-", "−"),
    )
    axes.set_xlim(CHANGES[0], CHANGES[-1])
    axes.set_xlabel(f"AP of {names[0]} − AP of {names[1]}, %")
    axes.set_ylabel("queries")
    figure.legend(
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize="small",
        handlelength=1.2,
        columnspacing=1.0,
    )
    calm(axes)
    return figure


def maps(
    people: People,
    models: Mapping[str, Mapping[str, np.ndarray]],
    notes: Sequence[str] = (),
    is_narrow: bool = False,
) -> Figure:
    """Where the images of a few identities lie: colour = identity, marker = modality.

    Args:
        people: the identities that are shown.
        models: label -> modality -> (n, 2) positions, in the order of ``people.rows``.
        notes: what must be read with the maps.
        is_narrow: for narrow windows, the maps below one another.
    """
    size = (COLUMN, 3.6) if is_narrow else (MAP, 5.6)
    figure, plots = _side_by_side(len(models), size, is_narrow)
    for axes, (label, positions) in zip(plots, models.items(), strict=True):
        for name in MODALITIES:
            for one, colour in zip(people.chosen, TEN, strict=False):
                of_one = positions[name][people.identities[name] == one]
                axes.plot(*of_one.T, linestyle="", **_marker(name, colour))
        axes.set_title(label, loc="left", fontweight="bold", fontsize="medium")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.margins(0.06)
    known = list(zip(people.chosen, TEN, strict=False))
    handles = [Line2D([], [], linestyle="", **_marker("visible", c)) for _, c in known]
    handles += [Line2D([], [], linestyle="", **_marker(name, "0.3")) for name in MODALITIES]
    labels = [f"identity {one}" for one, _ in known] + list(MODALITIES)
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=2 if is_narrow else 3 * len(models),
        frameon=False,
        fontsize="small",
    )
    return noted(figure, notes)


def _side_by_side(
    count: int, size: tuple[float, float], is_narrow: bool, **shared: bool
) -> tuple[Figure, Sequence[Axes]]:
    """A figure with plots of some size beside one another, or below one another."""
    rows, columns = (count, 1) if is_narrow else (1, count)
    figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    return figure, figure.subplots(rows, columns, squeeze=False, **shared).ravel()


def _marker(modality: str, colour: str) -> dict:
    """A marker whose edge keeps overlapping ones apart."""
    return {
        "marker": MARKERS[modality],
        "markersize": 6 if modality == "visible" else 10,
        "color": colour,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
    }


def noted(figure: Figure, notes: Sequence[str]) -> Figure:
    """A figure with what must be read with it above; its legend stands below."""
    if notes:
        figure.suptitle("\n".join(notes), fontsize="small", color="#a00000")
    return figure


def calm(axes: Axes) -> None:
    """A light grid, and no frame to the right and above."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

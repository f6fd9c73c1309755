"""The page of an exported model, as model hubs show it: README.md with its front matter."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from clustercontrast.data.provenance import Provenance
from clustercontrast.report.forms import Table

NOT_KNOWN = "not known: the file that the model was exported from does not say it"
FAKES = (
    "the network was trained and tested with generated infrared images in place of the visible "
    "ones: features of ordinary visible images are not what was tested"
)
ENTRY = re.compile(r"^@\w+\{\w+?\d{4}(\w+),\n.*?^\}\n", re.MULTILINE | re.DOTALL)

PARTS_OF = {"united": ("bmil", "posed")}
"""A method without a paper -> those that its parts are from."""


@dataclass(frozen=True)
class Origin:
    """What is known of a model beside what it says of itself.

    Attributes:
        title: of its method; empty where the method is not known.
        paper: its title and venue.
        selection: how the model was chosen among those of its run; empty for a single file.
        command: that trained it; empty where no run is known.
        initial: weights that the training began with; likewise.
        results: of its run, with all models beside chance, or why there are none; None where it
            was not tested.
    """

    title: str = ""
    paper: str = ""
    selection: str = ""
    command: str = ""
    initial: str = ""
    results: Table | None = None


def model_card(config: Mapping[str, Any], origin: Origin) -> str:
    """The card of a model.

    Args:
        config: of the exported folder.
        origin: what else is known.

    Returns:
        Markdown.
    """
    sections = (
        _front_matter(config),
        _head(config, origin),
        _model(config, origin),
        _training(config, origin),
        _results(origin),
        _use(config),
        _licence(config),
        _citation(config),
    )
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def citation(name: str) -> str:
    """The BibTeX entry of a method or of a dataset; empty where there is none.

    Args:
        name: its key in this package, such as "pgm" or "sysu".
    """
    text = resources.files("clustercontrast.report").joinpath("citations.bib").read_text("utf-8")
    return next((entry[0] for entry in ENTRY.finditer(text) if entry[1] == name), "")


def cited(method: str) -> tuple[str, ...]:
    """Methods whose papers a model of ``method`` cites: none of a classifier, or of no method."""
    return PARTS_OF.get(method, (method,) if citation(method) else ())


def _front_matter(config: Mapping[str, Any]) -> Iterator[str]:
    method = config["about"].get("method")
    named = [method] if method else []
    learning = ["unsupervised-learning"] if method and cited(method) else []
    yield "---"
    yield "library_name: clustercontrast"
    yield "license: other"
    yield "license_name: terms-of-the-training-images"
    yield "pipeline_tag: image-feature-extraction"
    yield "tags:"
    tags = ("person-re-identification", "visible-infrared", *learning, *named)
    yield from (f"- {tag}" for tag in tags)
    yield "---"


def _head(config: Mapping[str, Any], origin: Origin) -> Iterator[str]:
    about, images = config["about"], _images(config)
    trained = f", trained on {images.title}" if images else ""
    yield f"# {origin.title or 'Visible-infrared person re-identification'}{trained}"
    yield ""
    warnings = [*(images.notes() if images else []), *([FAKES] if about.get("fakes") else [])]
    for warning in warnings:
        yield f"> **{warning[0].upper()}{warning[1:]}.**"
        yield ""
    yield "Finds a person seen by an infrared camera among images of visible-light cameras, and"
    yield "the other way round, by the similarity of features."


def _model(config: Mapping[str, Any], origin: Origin) -> Iterator[str]:
    built, given, found = (config[key] for key in ("architecture", "input", "features"))
    rest = ", ".join(f"{name} {value}" for name, value in built.items() if name != "kind")
    mirrored = "; mean over the image and its mirror image" if found["flip_averaged"] else ""
    size = f"{given['height']}x{given['width']} pixels (height x width)"
    assumed = "" if given["size_is_known"] else "; assumed, the model does not say it"
    about = config["about"]
    method = (
        f"{origin.title} ({origin.paper}), variant `{about['variant']}`" if origin.title else ""
    )
    yield "## Model"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| method | {method or NOT_KNOWN} |"
    yield f"| weights | {_weights(config, origin)} |"
    yield f"| architecture | `{built['kind']}`: {rest} |"
    yield f"| images | RGB, {size}{assumed}, resized with {given['resampling'].title()} |"
    yield f"| normalisation | divided by 255; mean {given['mean']}, deviation {given['std']} |"
    yield f"| modalities | {_modalities(config)} |"
    yield f"| features | {found['length']:,} numbers of length 1{mirrored} |"


def _weights(config: Mapping[str, Any], origin: Origin) -> str:
    if not config["stage"]:
        return NOT_KNOWN
    chosen = f" ({origin.selection})" if origin.selection else ""
    return f"stage `{config['stage']}`, epoch {config['epoch']}{chosen}"


def _modalities(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} by `{part}`" for name, part in config["modalities"].items())


def _training(config: Mapping[str, Any], origin: Origin) -> Iterator[str]:
    about = config["about"]
    yield "## Training"
    yield ""
    if "method" not in about:
        yield f"Images, flags and command: {NOT_KNOWN}."
        return
    for key, what in (("images", "Images"), ("source_images", "Images of other identities")):
        if key in about:
            images = Provenance.of({"images": about[key]})
            yield f"- {what}: {images.title}, digest `{images.digest or 'not known'}`"
    if about.get("trial") is not None:
        yield f"- Trial: {about['trial']}, whose test identities alone it may be tested on"
    changes = " ".join(about.get("changes", {}).get(config["stage"], ()))
    yield f"- Flags other than the method's own: {f'`{changes}`' if changes else 'none'}"
    if origin.initial:
        yield f"- Initial weights: `{origin.initial}`"
    if not origin.command:
        yield "- Command: not known, since the model was exported from a single file"
        return
    yield "- Command:"
    yield ""
    yield from _block("bash", origin.command)


def _results(origin: Origin) -> Iterator[str]:
    if origin.results is None:
        yield "## Results"
        yield ""
        yield "Not tested, as far as this file knows: no report lies beside the model."
        return
    yield origin.results.markdown().rstrip()
    if not origin.results.rows:
        return
    yield ""
    yield f"The weights of this folder are those of the row *{origin.selection}*."


def _use(config: Mapping[str, Any]) -> Iterator[str]:
    yield "## Use"
    yield ""
    if "weights" in config:
        yield "With clustercontrast:"
        yield ""
        yield from _block(
            "python",
            "import clustercontrast\n"
            'model = clustercontrast.load("DIR")\n'
            'features = model.features("FOLDER", modality="infrared")',
        )
        yield ""
        yield "The tensors without it:"
        yield ""
        yield from _block("python", 'safetensors.torch.load_file("DIR/model.safetensors")')
        yield ""
    if "graphs" in config:
        given, graphs = config["input"], config["graphs"]
        size = f"{given['height']}, {given['width']}"
        yield f"By any runtime of ONNX (opset {graphs['opset']}): `{graphs['visible']}` and"
        yield f"`{graphs['infrared']}` take `images`, uint8 (N, {size}, 3) RGB, and give"
        yield f"`features`, float32 (N, {config['features']['length']}). The normalisation is"
        yield "inside."
        yield ""
    yield "Similarity is the product of two features; larger is more alike."


def _licence(config: Mapping[str, Any]) -> Iterator[str]:
    images = _images(config)
    yield "## Licence"
    yield ""
    yield "The code is under the MIT licence. The terms of the images that a network was trained"
    yield "on, and of its initial weights, may restrict what is done with its weights: check them"
    yield "before you share or use this model."
    if images and images.rendered:
        yield "The images of this one were drawn by clustercontrast itself."


def _citation(config: Mapping[str, Any]) -> Iterator[str]:
    about, images = config["about"], _images(config)
    dataset = images.dataset if images and not images.rendered else ""
    entries = filter(None, map(citation, (*cited(about.get("method", "")), dataset)))
    yield "## Citation"
    yield ""
    text = "\n".join(entries)
    yield from (_block("bibtex", text) if text else [f"The paper of the method: {NOT_KNOWN}."])


def _images(config: Mapping[str, Any]) -> Provenance | None:
    return Provenance.of(config["about"]) if "images" in config["about"] else None


def _block(language: str, text: str) -> Iterator[str]:
    yield f"```{language}"
    yield text.rstrip()
    yield "```"

"""A network as a graph of ONNX: from 8-bit images of one modality to the features of retrieval."""

import inspect
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from clustercontrast.files import UserError

OPSET = 18
"""Of the operators: the first that torch's present exporter writes without a conversion."""
INPUT, OUTPUT = "images", "features"


class FeatureGraph(nn.Module):
    """What lies between the pixels of an image and its feature, for one modality.

    The same numbers as :func:`clustercontrast.evaluation.features.extract` with ``unit``, in plain
    operations on a batch of any length.

    Args:
        network: has ``embed``; its ``flip_averaged`` says whether mirror images count.
        modality: "visible" or "infrared".
        mean: of the channels, for pixels in [0, 1].
        std: likewise.
    """

    def __init__(
        self, network: nn.Module, modality: str, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.network, self.modality = network, modality
        self.flip_averaged = getattr(network, "flip_averaged", True)
        # Names that no operation has: torch's exporter names its results after operations.
        self.register_buffer("channel_mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("channel_std", torch.tensor(std)[:, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 RGB -> (B, d) unit rows."""
        batch = (images.permute(0, 3, 1, 2).float() / 255 - self.channel_mean) / self.channel_std
        if self.flip_averaged:
            both = torch.cat([batch, batch.flip(-1)])  # one pass, hence each operator once
            rows = self.network.embed(both, self.modality).float()
            features = rows.unflatten(0, (2, -1)).mean(0)
        else:
            features = self.network.embed(batch, self.modality).float()
        return features / features.norm(dim=1, keepdim=True)


def write_graph(
    graph: FeatureGraph, size: tuple[int, int], path: Path, said: Mapping[str, str]
) -> None:
    """Write a graph as one file; its batch is of any length.

    Args:
        graph: in eval mode.
        size: (height, width) of the images.
        path: of the file.
        said: the graph's metadata.

    Raises:
        UserError: this version of torch cannot write it.
    """
    try:
        _export(graph, torch.zeros(2, *size, 3, dtype=torch.uint8), path)
        _complete(path, said)
    except OSError:
        raise
    except Exception as error:  # the exporter, and what it calls, fail with any exception
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"torch {torch.__version__} cannot write {path.name} ({type(error).__name__}: "
            f"{reason}): use another version of torch"
        ) from error


def _export(graph: FeatureGraph, example: torch.Tensor, path: Path) -> None:
    """By the exporter that this version of torch takes by default, without its remarks.

    Its optimiser takes the 1e-12 of generalised-mean pooling for nothing, which shifts features by
    1e-5 where a channel is dead; runtimes optimise a graph themselves.
    """
    batch = {0: "batch"}
    has_optimiser = "optimize" in inspect.signature(torch.onnx.export).parameters
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            (example,),
            str(path),
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamic_axes={INPUT: batch, OUTPUT: batch},  # understood by all versions since 2.4
            **({"optimize": False} if has_optimiser else {}),
        )


def _complete(path: Path, said: Mapping[str, str]) -> None:
    """Put the weights, which some versions of torch write beside a graph, and metadata into it."""
    import onnx  # optional: pip install 'clustercontrast[onnx]'

    model = onnx.load(path)
    for beside in path.parent.glob(f"{path.name}.*"):
        beside.unlink()
    onnx.helper.set_model_props(model, dict(said))
    onnx.checker.check_model(model)
    onnx.save(model, path)

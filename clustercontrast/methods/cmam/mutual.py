"""What stages 2 and 3 of CMAM-UDA share: two networks that learn, and learn from each other.

M_joint ("joint") reads visible images and infrared or fake infrared ones; M_gray ("gray") reads
infrared and fake infrared ones only.  A *view* is the pair of a network and the stream it reads,
such as ``("joint", "visible")``: the paper's j1, j2, j3, g2 and g3.
"""

from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from clustercontrast.data.augment import TwinView, normalise
from clustercontrast.data.batches import Batch
from clustercontrast.data.images import ImageArray
from clustercontrast.data.sampler import check_batch_size
from clustercontrast.data.samples import MODALITIES
from clustercontrast.engine.run import saved_model
from clustercontrast.engine.stage import Stage, Terms
from clustercontrast.evaluation.features import finite, in_chunks
from clustercontrast.files import UserError, say
from clustercontrast.generation.fake_infrared import FakeArray, FakeSet
from clustercontrast.losses.circle import circle_logits, smoothed_cross_entropy
from clustercontrast.losses.relation import probability_preservation, similarity_preservation
from clustercontrast.losses.triplet import soft_margin_triplet
from clustercontrast.methods.cmam import readings, times
from clustercontrast.methods.cmam.images import TransferImages
from clustercontrast.methods.cmam.stand_ins import MUTUAL
from clustercontrast.models import weights
from clustercontrast.models.single_stream_resnet import SingleStreamResNet

View = tuple[str, str]
VISIBLE_INPUTS = {  # --pair -> what stands for the visible images: for M_joint, for M_gray
    "rgb-gray": ("visible", "fake"),
    "rgb-rgb": ("visible", "visible"),
    "gray-gray": ("fake", "fake"),
}
NETWORKS = {"both": ("joint", "gray"), "joint": ("joint",), "gray": ("gray",)}


class Seen(NamedTuple):
    """One view of a batch.

    Attributes:
        metric: (B, d) features of the triplet loss.
        features: (B, d) features f of everything else.
        logits: (B, C) of the classes, whose softmax is the paper's p.
        relation: (B, C) logits whose probabilities the networks teach each other (A1).
    """

    metric: torch.Tensor
    features: torch.Tensor
    logits: torch.Tensor
    relation: torch.Tensor


class Relation(NamedTuple):
    """A view that learns from another; the other learns too unless it is a teacher."""

    name: str
    learner: View
    other: View
    is_teacher: bool


def build_network(args: Namespace) -> SingleStreamResNet:
    """M_joint or M_gray, with random weights."""
    return SingleStreamResNet(
        args.depth, args.neck, args.gem_exponent, args.train_gem, args.bn_groups
    )


def tested_network(args: Namespace) -> str:
    """The network that is evaluated: M_joint unless the flags say otherwise."""
    return args.models if args.models != "both" else args.eval_branch


def is_tested_on_fakes(args: Namespace) -> bool:
    """Whether the evaluated network is shown fakes of the visible test images."""
    return visible_input(args, tested_network(args)) == "fake"


def visible_input(args: Namespace, network: str) -> str:
    """Stream that stands for the visible images before a network: "visible" or "fake"."""
    return VISIBLE_INPUTS[args.pair][network == "gray"]


class Mutual(Stage):
    """What both stages of mutual learning share."""

    opens, stand_ins = TransferImages, MUTUAL

    def __init__(self, args: Namespace, data: object, run: object) -> None:
        super().__init__(args, data, run)
        self.names = NETWORKS[args.models]
        self.retrieval = tested_network(args)
        self.companions = tuple(name for name in self.names if name != self.retrieval)

    def setup_networks(self) -> None:
        """Both networks, with their initial weights."""
        self.run.log.say(readings.said(self.name, self.args))
        check_batch_size(self.args.batch_size, self.args.num_instances)
        source = self.initial_weights()
        held = weights.networks(Path(source)) if source and Path(source).is_file() else {}
        for name in self.names:
            network = self.add(name, build_network(self.args))
            if source is not None:
                report = (
                    _start(network, name, source, held) or "random weights (--pretrained random)"
                )
                self.run.log.say(f"{self.name}.{name}: {report}")

    def initial_weights(self) -> str | None:
        """Where initial weights come from; None if an earlier stage hands them over."""
        return self.args.pretrained

    def optimise_with_adam(self, schedule, *others: nn.Module) -> None:
        """One Adam over all networks and whatever else is trained."""
        networks = [self.networks[name] for name in self.names]
        trained = [p for m in (*networks, *others) for p in m.parameters() if p.requires_grad]
        a = self.args
        adam = torch.optim.Adam(trained, a.lr, weight_decay=a.weight_decay, fused=True)
        self.optimise("both", adam, schedule)

    # --- what the commands ask ---

    @classmethod
    def about(cls, args: Namespace, data: TransferImages) -> dict[str, str]:
        """The folder of the fakes, if they stand for the visible images in the test."""
        return {"fakes": str(data.places["generation"])} if is_tested_on_fakes(args) else {}

    @classmethod
    def tested_parts(
        cls, parts: dict[str, ImageArray], about: Mapping[str, Any]
    ) -> dict[str, ImageArray]:
        """Fakes in place of the visible images, if the run says where they lie."""
        if not about.get("fakes"):
            return parts
        folder, shown = Path(about["fakes"]), dict(parts)
        for name in ("train_visible", "test_visible"):
            fakes = FakeSet(folder, name, parts[name].index)
            shown[name] = fakes.array(parts[name].pixels.shape[1:3])
        return shown

    @classmethod
    def finish(cls, options: Any, data: TransferImages, folder: Path) -> None:
        """Running times beside those of the paper, files shared with other runs included."""
        args = options.at(cls.name)
        trained = sum(len(data.parts[f"train_{modality}"]) for modality in MODALITIES)
        places = {name: data.places.get(name, folder) for name in times.STAGES}
        tested = cls.tested_parts(data.parts, cls.about(args, data))
        model = weights.network_for(saved_model(folder / cls.name, "last")["weights"])
        measured = times.inference(
            model.to(data.device).eval(),
            [tested[f"test_{modality}"] for modality in MODALITIES],
            args.test_batch,
        )
        described = trained * len(NETWORKS[options.models])
        done = times.works(times.accounts(places), described, measured)
        times.write(done, folder)
        say(times.text(done))

    # --- data ---

    def fakes(self, name: str, originals: ImageArray, rows: np.ndarray | None = None) -> FakeArray:
        """Fake infrared images of a set, as large as the originals.

        Args:
            name: of the set.
            originals: that they are made from.
            rows: that will be read, all by default.

        Raises:
            UserError: they are not there.
        """
        folder = self.data.places["generation"]
        if not (folder / f"{name}.json").exists():
            raise UserError(f"{folder} has no fakes of {name}: run --stages generation first")
        size = tuple(originals.pixels.shape[1:3])
        array = FakeSet(folder, name, originals.index).array(size, rows)
        return self.data.placed({name: array})[name]

    def twin_view(self) -> TwinView:
        """How images and their fakes are augmented."""
        a = self.args
        return TwinView(a.flip, a.erasing, a.jitter_probability, a.padding, a.share_augmentation)

    def batch_seed(self) -> int:
        """A seed for the epoch's sampler, from the run's generator."""
        return int(torch.randint(2**31, (1,), generator=self.run.generator))

    def features_of(
        self, network: str, array: ImageArray, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Features f of images, or of those at ``rows``: (N, d) float32 on the CPU, any length."""
        model, size = self.networks[network], self.args.test_batch
        with self.run.timed("features"), self.evaluating(model):
            found = in_chunks(lambda p: model(normalise(p))[1].float(), array, size, rows)
        return finite(found, array.index.modality)

    # --- one batch ---

    def see(self, batch: Batch, views: Sequence[View]) -> dict[View, Seen]:
        """Forward every view's stream through its network and classify its features."""
        found = {}
        for name in self.names:
            own = [view for view in views if view[0] == name]
            for view, (metric, features) in zip(own, self._forward(batch, own), strict=True):
                labels = batch.streams[view[1]].labels
                cosines = self.cosines(view, features)
                logits = self.classify(cosines, labels)
                found[view] = Seen(metric, features, logits, self._relating(cosines, logits))
        return found

    def _forward(self, batch: Batch, views: Sequence[View]) -> list[tuple[torch.Tensor, ...]]:
        """Features of one network's views, from one forward or one each (A13)."""
        network = self.networks[views[0][0]]
        images = [batch.streams[stream].images for _, stream in views]
        if not self.args.joint_forward:
            return [network(part) for part in images]
        parts = network(*images)
        return list(zip(parts[::2], parts[1::2], strict=True))

    def cosines(self, view: View, features: torch.Tensor) -> torch.Tensor:
        """Cosines (B, C) of features with the classes' proxies before this view."""
        raise NotImplementedError

    def classify(self, cosines: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of the circle head."""
        return circle_logits(cosines, labels, self.args.circle_margin, self.args.circle_scale)

    def _relating(self, cosines: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        a = self.args
        chosen = logits if a.relation_logits == "margin" else a.circle_scale * cosines
        return chosen / a.relation_temperature

    # --- losses ---

    def identification(self, seen: Mapping[View, Seen], batch: Batch) -> Terms:
        """L_PID of every view (Eq. 2, 17, 21): cross entropy and hard-mined triplets."""
        a, terms = self.args, {}
        for view, own in seen.items():
            labels = batch.streams[view[1]].labels
            classified = smoothed_cross_entropy(
                own.logits, labels, a.smooth, a.smooth_over, a.identity_reduction
            )
            terms["identity_" + "_".join(view)] = (1.0, classified)
        for name, views in self.triplet_groups(seen).items():
            metric = torch.cat([seen[view].metric for view in views])
            labels = torch.cat([batch.streams[view[1]].labels for view in views])
            hardest = soft_margin_triplet(metric, labels, a.unit_triplet, a.identity_reduction)
            terms[f"triplet_{name}"] = (1.0, hardest)
        return terms

    def triplet_groups(self, seen: Iterable[View]) -> dict[str, list[View]]:
        """Views within which triplets are mined together: each on its own (A15)."""
        return {"_".join(view): [view] for view in seen}

    def preservation(
        self, seen: Mapping[View, Seen], relations: Sequence[Relation], with_probabilities: bool
    ) -> Terms:
        """Similarity and probability preservation (Eq. 3, 4, 11-14, 18, 19).

        Args:
            seen: the views of a batch.
            relations: who learns from whom.
            with_probabilities: include the probability terms (phase 2 of stage 2).
        """
        a, terms = self.args, {}
        for relation in relations:
            own, other = seen[relation.learner], seen[relation.other]
            if relation.is_teacher:
                other = Seen(*(t.detach() for t in other))  # sg(.)
            if a.sp:
                loss = similarity_preservation(own.features, other.features, a.sp_reduction)
                terms[f"similarity_{relation.name}"] = (a.similarity_weight, loss)
            if a.pp and with_probabilities:
                loss = probability_preservation(own.relation, other.relation, a.pp_reduction)
                terms[f"probability_{relation.name}"] = (a.probability_weight, loss)
        return terms

    def exponents(self) -> Terms:
        """For the log alone: the exponent of every network's pooling (weight 0)."""
        return {f"gem_{n}": (0.0, self.networks[n].exponent.detach()) for n in self.names}

    def freeze_trunk(self, step: int) -> None:
        """Leave the trunks as they are for the first --freeze-iterations steps (A10)."""
        if step <= self.args.freeze_iterations > 0:
            for name in self.names:
                for part in (self.networks[name].stem, self.networks[name].trunk):
                    part.requires_grad_(step >= self.args.freeze_iterations)


def _start(
    network: nn.Module, name: str, source: str, held: Mapping[str, weights.State]
) -> weights.LoadReport | None:
    """Initial weights of one of the two networks, from a file of the two of them or of any one.

    Args:
        network: gets them.
        name: "joint" or "gray".
        source: value of ``--pretrained`` or ``--start-from``.
        held: networks that it names, if it is a checkpoint of this project.

    Raises:
        UserError: a checkpoint of CMAM-UDA without this network.
    """
    if name in held:
        return weights.load(network, held[name], source)
    for other in held.keys() & NETWORKS["both"]:
        raise UserError(
            f"{source} holds M_{other} alone, and --models asks for M_{name}: give a checkpoint "
            "that has it"
        )
    return weights.start(network, source)


class CosineClassifier(nn.Module):
    """Rows w_c of one view's classes, N(0, 0.01²) at first.

    Args:
        classes: C.
        width: d.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Cosines (B, C) of features (B, d) with the rows, in float32."""
        with torch.autocast(features.device.type, enabled=False):
            return F.linear(F.normalize(features.float()), F.normalize(self.weight))


def streams_of(views: Sequence[View]) -> Iterator[str]:
    """Streams that any view reads, each once."""
    yield from dict.fromkeys(stream for _, stream in views)

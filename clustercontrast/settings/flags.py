"""Every flag, once: its name, its kind, its help.

No default stands here: they are in :mod:`clustercontrast.settings.recipes`.
"""

import argparse
import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from clustercontrast.files import UserError

# Flags that the official scripts accept and never read, or that stand under another name here.
REJECTED = {
    "--eps-gap": "no official script reads it",
    "--features": "the AGW network ignores it",
    "--dropout": "the AGW network ignores it",
    "--pooling-type": "the AGW network always pools with GeM, p = 3",
    "--warmup-step": "no official script reads it",
    "--milestones": "no official script reads it",
    "--use-hard": "say --memory hard",
    "--memorybank": "say --memory sequential, hard or hybrid",
    "-mb": "say --memory sequential, hard or hybrid",
    "-a": "say --arch, --depth and --non-local",
    "--dataset": "the script's name says it",
    "-d": "the script's name says it",
    "--workers": "training has no loader processes; prepare_sysu.py takes -j",
    "-j": "training has no loader processes; prepare_sysu.py takes -j",
    "--resume": "the same command resumes by itself",
}


def number(kind: type, low: float, high: float = float("inf")) -> Callable[[str], Any]:
    """A number of ``kind`` in [low, high], with a message that says so."""

    def parse(text: str) -> Any:
        with contextlib.suppress(ValueError):
            if low <= kind(text) <= high and math.isfinite(kind(text)):
                return kind(text)
        bound = f"from {low:g} to {high:g}" if high < float("inf") else f"of at least {low:g}"
        name = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"'{text}' is not {name} {bound}")

    return parse


def onoff(text: str) -> bool:
    """A switch with one value per stage."""
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"'{text}' is neither on nor off")
    return text == "on"


def shard(text: str) -> str:
    """Which of how many processes: "0/4"."""
    first, slash, last = text.partition("/")
    if not (slash and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise argparse.ArgumentTypeError(f"'{text}' is not I/N with 0 <= I < N, such as 0/4")
    return text


count, natural = number(int, 1), number(int, 0)
positive, share, rate = number(float, 0), number(float, 0, 1), number(float, 1e-12)
radius, draws = number(float, 1e-6, 1), number(int, 1, 10)


def add_flags(parser: argparse.ArgumentParser, stages: Sequence[str]) -> None:
    """All flags, in groups.  ``stages`` of the method name the per-stage values."""

    def group(title: str) -> tuple[Callable, Callable, Callable]:
        section = parser.add_argument_group(title)

        def staged(flag: str, kind: Callable, text: str, *short: str, **more: Any) -> None:
            metavar = flag.lstrip("-").replace("-", "_").upper()
            action = PerStage(kind, stages, more.pop("choices", None))
            section.add_argument(
                *short, flag, nargs="+", type=action, metavar=metavar, help=text, **more
            )

        def switch(flag: str, text: str) -> None:
            section.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)

        return section.add_argument, staged, switch

    plain, staged, switch = group("run")
    plain(
        "--method", help="which paper: adca, pgm, pclhd, rpnr, mmm, pca, sdcl, cmam; or supervised"
    )
    plain("--variant", help="named set of defaults, such as pclhd's upstream and paper")
    plain(
        "--name", help="the run's folder below LOGS_DIR/<dataset>/<method> (seed<SEED> if left out)"
    )
    plain("--logs-dir", help="folder of all runs")
    plain("--stages", nargs="+", choices=list(stages), help="run these stages only")
    plain("--device", help="auto, cpu, cuda or cuda:N")
    plain("--precision", choices=["fp32", "tf32", "bf16"], help="fp32 as upstream; bf16 autocast")
    plain("--seed", type=natural, help="of the one generator behind all randomness")
    plain("--print-freq", type=count, help="iterations between two lines of log.txt")
    switch("--overwrite", "delete what a run of this name left behind and start anew")

    plain, staged, switch = group("data")
    plain("--data-dir", help="the dataset as it was downloaded, and as it was prepared from")
    plain("--cache-dir", help="prepared images (default: beside the dataset, DATA_DIR-HxW)")
    plain("--height", type=number(int, 16), help="image height in pixels, as prepared")
    plain("--width", type=number(int, 16), help="image width in pixels, as prepared")
    plain("--trial", nargs="+", type=count, help="RegDB: splits to train on, a model for each")
    switch("--allow-leak", "RegDB: accept first weights of another trial, which saw its people")

    plain, staged, switch = group("model")
    plain(
        "--arch",
        choices=["resnet", "vit"],
        help="two-stream ResNet (AGW), or vision transformer with convolutional stems (SDCL)",
    )
    plain(
        "--depth",
        type=count,
        help="ResNet: 10, 18, 34 or 50 layers (50); ViT: blocks, private last ones included (12)",
    )
    plain("--vit-width", type=number(int, 64), help="ViT: token length, a multiple of 64")
    plain("--drop-path", type=share, help="ViT: stochastic depth of the last block")
    switch("--non-local", "ResNet: non-local blocks (off for ADCA and PCA, on for the others)")
    plain("--pretrained", help="first weights: imagenet, random, or a checkpoint's PATH")
    plain(
        "--start-from",
        help="weights a later stage starts from: the earlier stage's best model by 'test' score "
        "(upstream) or by label-free 'cycle' consistency, its 'last' epoch, 'pretrained' (no "
        "earlier stage), or the PATH of a checkpoint",
    )
    plain(
        "--stage1", metavar="PATH", help="checkpoint in place of the first stage, not trained then"
    )
    plain("--bn-groups", type=count, help="GPUs whose BatchNorm is emulated (common.md 8)")
    switch(
        "--checkpoint-groups",
        "recompute activations in backward: ResNet by BatchNorm group (1/G of the memory), ViT by "
        "block (about a sixth)",
    )

    plain, staged, switch = group("schedule")
    staged("--epochs", count, "label refreshes per stage")
    staged("--first-epoch", natural, "number of a stage's first epoch, from which schedules count")
    staged("--iters", natural, "iterations per epoch; 0: one pass over the images")
    staged("--lr", rate, "base learning rate (Adam; SDCL and MMM's last stage SGD)")
    staged("--weight-decay", positive, "L2 added to the gradient")
    staged("--step-size", count, "epochs after which the learning rate falls to a tenth")

    plain, staged, switch = group("batches and views")
    staged("--batch-size", count, "infrared images per batch", "-b")
    staged("--batch-visible", count, "visible images per batch; each gives two views")
    staged("--num-instances", count, "images per cluster in a batch, K; also M of Eq. 17")
    switch("--cam", "draw a cluster's images from other cameras than the first one's")
    staged("--padding", natural, "black pixels around an image before the random crop")
    staged("--flip", share, "probability of the horizontal flip")
    staged("--erasing", share, "probability of random erasing")
    switch("--jitter-visible", "colour jitter of plain visible views (SDCL)")
    switch("--jitter-exchanged", "colour jitter before the channel exchange (PGM, SDCL)")
    switch("--jitter-infrared", "colour jitter of infrared images (SDCL; PGM v2024, stage 1)")

    plain, staged, switch = group("pseudo labels")
    staged("--eps", radius, "DBSCAN radius in Jaccard distance, all modalities")
    staged("--eps-visible", radius, "the same for visible images (follows --eps)")
    staged("--eps-infrared", radius, "the same for infrared images (follows --eps)")
    staged("--eps-joint", radius, "the same for the joint clustering (follows --eps)")
    staged("--min-samples", count, "neighbours that make a core point, itself included")
    staged("--k1", count, "k-reciprocal neighbours, self included")
    staged("--k1-visible", count, "the same for visible images (follows --k1)")
    staged("--k2", count, "neighbours of the query expansion; 1 switches it off")
    staged("--joint-k1", count, "k1 of the joint clustering (PCLHD, MMM, PCA)")
    staged("--joint-k2", count, "k2 of the joint clustering (PCLHD, MMM, PCA)")
    plain("--pseudo-labels", metavar="PATH", help="read labels from a file instead of clustering")
    staged("--export-labels", onoff, "on: write features and labels after the last epoch")
    plain("--neighbours", choices=["torch", "faiss"], help="backend of the neighbour search")

    plain, staged, switch = group("association")
    plain(
        "--association",
        choices=["pgm", "mmm", "ot", "cma", "hungarian", "none"],
        help="matching of clusters: progressive graph matching, MMM's sub-memories, RPNR's optimal "
        "transport, ADCA's votes, one-to-one assignment",
    )
    switch(
        "--match-always",
        "match even when infrared clusters outnumber visible ones; off, such epochs have no cross-"
        "modality contrast, as in the released code of PGM on SYSU-MM01 and of PCLHD on RegDB",
    )
    staged("--cross-weight", positive, "weight of the cross-modality contrast")
    plain("--vote-threshold", type=share, help="cma: similarity from which an image pair votes")
    plain("--ot-regularisation", type=number(float, 1e-3), help="ot: entropic regularisation")
    switch("--forget-last", "mmm: leave out the last cluster, as MMM's released code does (MMM-1)")
    staged("--aggregation-weight", share, "ADCA: weight of the visible row (paper: λ)")

    plain, staged, switch = group("memories")
    staged("--temp", number(float, 1e-4), "temperature (paper: τ)")
    staged("--momentum", share, "weight of the OLD row in an update (paper: α)")
    kinds = ["sequential", "hard", "hybrid"]
    staged("--memory", str, f"kind of memory, of {', '.join(kinds)}", choices=kinds)
    plain(
        "--memory-gradient",
        choices=["upstream", "clean"],
        help="rows a gradient is formed with when a memory is called twice: as upstream (already "
        "rewritten by the later call), or those of the forward pass",
    )
    staged(
        "--smooth",
        share,
        "label smoothing of memory losses (upstream: 0.1 if above 0), or of CMAM-UDA's classifiers",
    )

    plain, staged, switch = group("PCLHD")
    staged("--hard-weight", share, "weight of hard prototypes (paper: λ of Eq. 23)")
    staged("--centroid-weight", share, "weight of centroid prototypes in a hybrid memory")
    staged("--hinge", positive, "centroid loss below which it gives no gradient")
    plain("--hard-init", choices=["centroid", "farthest"], help="first hard prototypes (Eq. 6-7)")
    staged("--hard-k", count, "farthest members averaged by --hard-init farthest (Fig. 2b: k)")
    switch("--hpcl", "hard prototype loss (Eq. 6-15); off, hybrid memories become sequential ones")
    switch("--dpcl", "dynamic prototype loss (Eq. 17-22)")
    staged("--dynamic-weight", positive, "its weight (variant paper: follows 1 - HARD_WEIGHT)")
    plain(
        "--dynamic-query",
        choices=["momentum", "online"],
        help="encoder of its queries: momentum (upstream, no gradient) or online",
    )
    switch("--joint-branch", "third clustering over both modalities, with a step of its own")
    staged("--ema-decay", share, "weight of the old momentum encoder (paper: β)")
    plain("--retrieval", choices=["momentum_encoder", "encoder"], help="network that is evaluated")

    plain, staged, switch = group("RPNR")
    switch("--npc", "noisy pseudo-label calibration")
    staged("--npc-members", count, "densest members of a cluster that make its prototype (T)")
    staged("--npc-threshold", share, "cosine from which two members are near each other")
    switch("--mhl", "memory hybrid learning")
    staged("--mhl-weight", positive, "its weight")
    switch("--nrl", "neighbour relation learning")
    staged("--nrl-weight", positive, "its weight")
    switch("--nrl-normalise", "form its weights from normalised features, so that they attract")

    plain, staged, switch = group("MMM")
    staged("--warm-epochs", natural, "epochs of plain classification before confidences")
    staged("--margin", positive, "of the triplet loss")
    staged("--mimic-weight", positive, "weight of the self-mimic loss")
    staged("--alignment-weight", positive, "weight of the discrepancy between modalities (MMD)")

    plain, staged, switch = group("PCA")
    switch("--tal", "triple-modal adversarial learning: classifier and adversarial loss")
    staged("--adversarial-from", natural, "first epoch in which the encoder sees that loss")
    staged("--adversarial-weight", positive, "its weight (stage 1, stage 2)")
    staged("--modality-lr", positive, "learning rate of the modality classifier's SGD")
    switch("--cne", "expand joint neighbours evenly over the modalities; off: plain Jaccard")
    switch("--mcl", "joint clustering, joint memory and their own step in stage 2")
    switch("--log-association", "cluster jointly in stage 1 too, for the log alone, as upstream")
    switch(
        "--start-competes",
        "stage 2's first weights may be its best model (upstream: RegDB, not SYSU-MM01)",
    )

    plain, staged, switch = group("SDCL")
    staged("--first-momentum", share, "--momentum in epoch 0 (follows --momentum)")
    staged("--homogeneous-from", natural, "first epoch of neighbours in the own modality")
    staged("--homogeneous-weight", positive, "their weight (stage 1, stage 2)")
    staged("--heterogeneous-from", natural, "first epoch of neighbours in the other modality")
    staged("--heterogeneous-weight", positive, "their weight (stage 1, stage 2)")
    staged("--visible-to-infrared", positive, "further factor of visible images' neighbours there")
    staged("--shallow-weight", positive, "weight of shallow neighbour losses beside deep ones")
    staged("--neighbour-threshold", share, "share of the highest similarity that a neighbour needs")
    staged("--instance-momentum", share, "weight of the old row in instance memories")
    switch("--raw-instances", "update them with features that are not normalised, as upstream")
    plain("--candidates", type=count, help="infrared images that a visible image takes labels from")
    plain("--smoothing-neighbours", type=count, help="visible images that vote on one's label")

    plain, staged, switch = group("CMAM-UDA: source and its labels (stage auxiliary)")
    plain("--source", help="visible images of other people: Market-1501 or any folder")
    plain("--source-format", choices=["market", "folder"], help="layout of --source")
    switch("--allow-incomplete", "accept missing images when the source or the target is prepared")
    plain(
        "--source-splits",
        nargs="+",
        choices=["train", "gallery", "query"],
        help="market: parts that are used; identities are never read",
    )
    plain("--camera-pattern", help="folder: regular expression whose group is the camera's number")
    plain(
        "--label-method",
        choices=["pplr", "baseline", "kmeans", "import"],
        help="PPLR; PPLR without parts; one k-means (dry runs only); labels made elsewhere",
    )
    plain("--source-labels", metavar="PATH", help="import: .csv or .npz with relpath and label")
    plain("--source-clusters", type=count, help="kmeans: number of clusters")
    plain("--parts", type=natural, help="horizontal stripes with a feature of their own")
    plain("--agreement-neighbours", type=count, help="neighbours of the cross agreement")
    plain("--refinement", type=share, help="weight of the pseudo label in its refinement (β)")
    plain("--agreement-from", type=natural, help="first epoch of agreement-aware smoothing")
    switch("--source-cameras", "draw a cluster's images from other cameras where they are known")
    plain(
        "--source-outliers",
        choices=["drop", "singleton"],
        help="images without a cluster: left out, or classes of their own",
    )

    plain, staged, switch = group("CMAM-UDA: fake infrared images (stages diffusion, generation)")
    plain("--fake-height", type=number(int, 8), help="height of fake images in pixels")
    plain("--fake-width", type=number(int, 8), help="width of fake images in pixels")
    plain("--fake-channels", type=int, choices=[1, 3], help="channels that are drawn (A31)")
    plain("--unet-width", type=count, help="channels of the U-Net's first level (A33)")
    plain("--unet-multipliers", nargs="+", type=count, help="channels of the levels, in widths")
    plain("--unet-blocks", type=count, help="residual blocks per level")
    plain("--attention-at", nargs="+", type=count, help="resolutions with attention")
    plain("--attention-axis", choices=["width", "height"], help="side they are measured on (A32)")
    plain("--unet-dropout", type=share, help="dropout in residual blocks")
    plain("--sigma-data", type=number(float, 1e-3), help="deviation of the images (σ_data)")
    plain("--noise-mean", type=float, help="mean of ln σ in training (P_mean)")
    plain("--noise-std", type=positive, help="deviation of ln σ in training (P_std)")
    plain("--ema-ramp", type=positive, help="half-life of the averaged weights, in images seen")
    switch("--ema", "draw with averaged weights")
    switch("--fake-flip", "mirror half of the training images and their edges")
    plain("--held-out", type=share, help="share of images kept for a loss that shows over-fitting")
    switch("--joint-adapter", "train U-Net and adapter together; off: one after the other (A35)")
    plain("--edge-norm", choices=["percentile", "max", "none"], help="scale of edges (A34)")
    plain("--edge-threshold", type=share, help="edges as lines: above this 1, else 0 (A34)")
    plain("--sampling-steps", type=number(int, 2), help="steps of the sampler (Table V)")
    plain("--solver", choices=["heun", "dpmpp2m"], help="Heun (2n - 1 evaluations), or multistep")
    plain("--sigma-min", type=number(float, 1e-6), help="last noise level of the sampler")
    plain("--sigma-max", type=positive, help="first noise level of the sampler")
    plain("--rho", type=number(float, 1), help="how the noise levels are spaced (ρ)")
    plain("--noise-seed", type=natural, help="with an image's path it decides the image's noise")
    switch("--only-clustered", "make no fakes of source images that have no label")
    plain("--shard", type=shard, metavar="I/N", help="this process's share of the fakes (torchrun)")

    plain, staged, switch = group("CMAM-UDA: mutual learning (stages pretrain, selftrain)")
    plain("--models", choices=["both", "joint", "gray"], help="networks that learn (Table III)")
    plain(
        "--pair",
        choices=["rgb-gray", "rgb-rgb", "gray-gray"],
        help="what stands for visible images before M_joint and before M_gray (Table IV)",
    )
    plain(
        "--eval-branch",
        choices=["joint", "gray"],
        help="network that is evaluated; M_gray is shown fakes of the visible test images",
    )
    plain(
        "--relation-mode",
        choices=["selective", "symmetric", "single", "none"],
        help="pretrain: who learns from whom: Eq. 11-14; both sides; M_joint's branches (Eq. 3, 4)",
    )
    staged("--sp", onoff, "on: similarity preservation (Eq. 12, 14, 19)")
    staged("--pp", onoff, "on: probability preservation (Eq. 11, 13, 18)")
    staged("--similarity-weight", positive, "its weight (λ_SP, λ_BSP)")
    staged("--probability-weight", positive, "its weight (λ_PP, λ_BPP)")
    plain("--sp-reduction", choices=["sum", "per_anchor", "mean"], help="as printed: sum (A2)")
    plain("--pp-reduction", choices=["sum", "batchmean"], help="as printed: sum (A2)")
    plain(
        "--relation-logits",
        choices=["margin", "plain"],
        help="probabilities that are preserved: the circle head's, or of scaled cosines (A1)",
    )
    plain("--relation-temperature", type=number(float, 1e-3), help="divides those logits (A1)")
    plain("--circle-margin", type=share, help="m of the circle head")
    plain("--circle-scale", type=number(float, 1e-3), help="s of the circle head")
    plain("--smooth-over", choices=["others", "all"], help="classes that share --smooth (A39)")
    switch("--unit-triplet", "triplets on normalised features (A14)")
    plain("--neck", choices=["bnneck", "none", "bnneck-before"], help="what a feature is (A3)")
    plain("--gem-exponent", type=number(float, 1), help="first exponent of the pooling (A4)")
    switch("--train-gem", "let the exponent learn (A4)")
    switch("--joint-forward", "one forward of all views of a network (A13)")
    plain("--jitter-probability", type=share, help="probability of the mild colour jitter (A9)")
    switch("--share-augmentation", "an image and its fake share flip and erasing (A8)")
    staged("--warm-iterations", natural, "iterations of linear warm-up")
    staged("--first-lr", positive, "learning rate it begins with")
    staged("--flat-iterations", natural, "iteration from which the rate falls along a cosine")
    staged("--last-lr", positive, "learning rate the cosine ends with (A11)")
    staged("--freeze-iterations", natural, "iterations before the trunks learn (A10)")
    plain("--phase-one", type=natural, help="pretrain: epochs without probability preservation")
    switch("--fresh-optimiser", "pretrain: phase 2 starts with a new Adam (A12)")
    plain("--clusters", type=count, help="selftrain: k of k-means, per modality (Fig. 5)")
    plain("--clusters-infrared", type=count, help="the same for infrared (follows --clusters)")
    plain(
        "--matching",
        choices=["bgm", "joint-kmeans"],
        help="selftrain: bipartite matching of clusters, or k-means of both modalities (UDA3)",
    )
    plain("--match-similarity", choices=["cosine", "euclidean"], help="of cluster centres (A23)")
    plain(
        "--concatenation",
        choices=["each", "whole", "raw"],
        help="what is normalised of [M_joint; M_gray] before k-means (A21)",
    )
    plain("--bank", choices=["shared", "per-modality"], help="proxies of a network (A16)")
    plain("--proxy-update", choices=["batch_mean", "sequential"], help="their update (A17)")
    plain("--proxy-init", choices=["balanced", "pooled"], help="their first value (A20)")
    plain(
        "--head", choices=["circle", "cosine"], help="logits of cosines; cosine: over --temp (A27)"
    )
    switch("--cross-triplet", "selftrain: mine triplets over both modalities (A15)")
    plain(
        "--class-draw",
        choices=["shared", "independent"],
        help="selftrain: both modalities of a batch show the same classes, or classes of their own",
    )
    plain("--labelled", type=share, help="semi-supervised: share of identities with labels")

    plain, staged, switch = group("evaluation")
    staged("--eval-from", natural, "first epoch evaluated; the last one always is")
    staged("--eval-step", count, "epochs between two evaluations")
    plain("--eval-draws", type=draws, help="gallery draws of these evaluations (SYSU-MM01, LLCM)")
    plain("--draws", type=draws, help="gallery draws of the final test (SYSU-MM01, LLCM)")
    plain("--select", choices=["rank1", "mAP"], help="test score of the best model, as upstream")
    plain("--selection-images", type=count, help="training images per modality of the cycle score")
    plain("--test-batch", type=count, help="images per forward when features are extracted")


class PerStage:
    """Type of a per-stage flag: VALUE, one VALUE per stage, or STAGE=VALUE."""

    def __init__(self, kind: Callable, stages: Sequence[str], choices: Sequence[str] | None):
        self.kind, self.stages, self.choices = kind, stages, choices

    def __call__(self, text: str) -> tuple[str | None, Any]:
        """Parse one word of the flag."""
        stage, equals, value = text.rpartition("=")
        if equals and stage not in self.stages:
            raise argparse.ArgumentTypeError(
                f"no stage '{stage}': the stages are {', '.join(self.stages)}"
            )
        if self.choices and value not in self.choices:
            raise argparse.ArgumentTypeError(f"'{value}' is not one of {', '.join(self.choices)}")
        return stage or None, self.kind(value)


class Reject(argparse.Action):
    """A flag of the official scripts that does nothing here: say why."""

    def __init__(self, *args: Any, reason: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reason = reason

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Refuse the flag."""
        parser.error(f"{'/'.join(self.option_strings)} is not a flag here: {self.reason}")


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong command line as one line, without the usage of sixty flags."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong."""
        raise UserError(f"{message} (--help lists the flags)")

"""Stage 1a of CMAM-UDA: a diffusion model that draws infrared images from edges.

Formulas and constants: docs/methods/cmam.md#edges-and-generator.

EDM (Karras et al., NeurIPS 2022) with the edges of an image as its condition, fed through a
T2I-Adapter (Mou et al., AAAI 2024).  It learns from unlabelled infrared training images of the
target and from their own edges; :mod:`generation` then gives it the edges of visible images.
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import nn

from clustercontrast.data.batches import Batch, plain_batches
from clustercontrast.data.images import ImageArray
from clustercontrast.data.sampler import shuffled_rows
from clustercontrast.engine.schedules import constant
from clustercontrast.engine.stage import Stage, Terms
from clustercontrast.files import UserError
from clustercontrast.generation import panels
from clustercontrast.generation.edges import edge_maps, luminance
from clustercontrast.generation.edm import (
    denoised,
    dpm_solver,
    draw_noise_levels,
    heun,
    noise_levels,
)
from clustercontrast.generation.fake_infrared import noise_of, quantised, scaled
from clustercontrast.losses.denoising import denoising_loss
from clustercontrast.methods.cmam import readings
from clustercontrast.methods.cmam.images import TransferImages
from clustercontrast.models.denoiser import Denoiser
from clustercontrast.models.edge_adapter import EdgeAdapter
from clustercontrast.models.momentum import MomentumEncoder
from clustercontrast.processes import ranks

LONGEST_HALF_LIFE = 50e6  # images, EDM's
SOLVERS = {"heun": heun, "dpmpp2m": dpm_solver}
PREVIEWED = 8


def build_generator(args: Namespace) -> nn.ModuleDict:
    """The U-Net F_θ ("denoiser") and the edge adapter C_con ("adapter"), with random weights.

    Raises:
        UserError: the image cannot be halved as often as there are levels, or noise does not fall.
    """
    a = args
    if a.sigma_min >= a.sigma_max:
        raise UserError(
            f"--sigma-min {a.sigma_min:g} is not below --sigma-max {a.sigma_max:g}: noise falls "
            "from the one to the other"
        )
    try:
        denoiser = Denoiser(
            a.unet_width,
            tuple(a.unet_multipliers),
            a.unet_blocks,
            tuple(a.attention_at),
            (a.fake_height, a.fake_width),
            a.attention_axis,
            a.unet_dropout,
            a.fake_channels,
        )
    except ValueError as error:
        raise UserError(f"--fake-height, --fake-width, --unet-multipliers: {error}") from error
    return nn.ModuleDict({"denoiser": denoiser, "adapter": EdgeAdapter(denoiser.widths)})


def edges_of(pixels: torch.Tensor, args: Namespace) -> torch.Tensor:
    """Edge maps E (B, 1, h, w) of images (B, h, w, 3) uint8 of any kind."""
    return edge_maps(luminance(pixels), args.edge_norm, args.edge_threshold)


def draw_images(
    generator: nn.ModuleDict,
    edges: torch.Tensor,
    noise: torch.Tensor,
    args: Namespace,
    steps: int | None = None,
) -> torch.Tensor:
    """Eq. 1: fake infrared images (B, c, h, w) in about [-1, 1], from edges (B, 1, h, w) and noise.

    The adapter does not see the noise level: its maps are computed once.  ``steps`` of the sampler
    are those of ``args`` by default.
    """
    maps = generator["adapter"](edges)

    def network(x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        return generator["denoiser"](x, c_noise, maps)

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return denoised(network, x, sigma, args.sigma_data)

    number = args.sampling_steps if steps is None else steps
    sigmas = noise_levels(number, args.sigma_min, args.sigma_max, args.rho)
    return SOLVERS[args.solver](denoise, noise, sigmas)


class Diffusion(Stage):
    """Learn to remove noise from infrared images, given their edges."""

    name, retrieval, made_from = "diffusion", None, ("target",)
    opens = TransferImages
    reads = (
        "seed",
        "epochs",
        "iters",
        "batch_size",
        "lr",
        "weight_decay",
        "precision",
        "fake_height",
        "fake_width",
        "fake_channels",
        "unet_width",
        "unet_multipliers",
        "unet_blocks",
        "attention_at",
        "attention_axis",
        "unet_dropout",
        "edge_norm",
        "edge_threshold",
        "sigma_data",
        "noise_mean",
        "noise_std",
        "ema_ramp",
        "ema",
        "fake_flip",
        "held_out",
        "joint_adapter",
    )

    def setup(self) -> None:
        self.run.log.say(readings.said(self.name, self.args))
        if not self.args.joint_adapter and self.args.epochs < 2:
            raise UserError("--no-joint-adapter needs two epochs: U-Net first, then the adapter")
        self.images = self.data.small["train_infrared"]
        self.generator = self.add("generator", build_generator(self.args))
        for parameter in self.generator.parameters():  # a bad batch must not end 50,000 iterations
            parameter.register_post_accumulate_grad_hook(_finite)
        self.average = self.add("average", MomentumEncoder(self.generator, decay=0.0))
        a = self.args
        trained = self.generator.parameters()
        adam = torch.optim.Adam(trained, a.lr, weight_decay=a.weight_decay, fused=True)
        self.optimise("generator", adam, constant())
        order = torch.from_numpy(np.random.default_rng(a.seed).permutation(len(self.images)))
        held_out = min(round(a.held_out * len(order)), len(order) - 1)
        self.held_out, self.training = order[:held_out].sort()[0], order[held_out:].sort()[0]

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        a = self.args
        self.step = (epoch - self.epochs[0]) * self.iterations
        self.is_conditional = a.joint_adapter or epoch >= self.epochs[0] + a.epochs // 2
        for parameter in self.generator["denoiser"].parameters():
            parameter.requires_grad_(a.joint_adapter or not self.is_conditional)
        self.lost = torch.zeros((), dtype=torch.int64, device=self.run.device)
        rows = shuffled_rows(self.training, a.batch_size, self.run.generator)
        yield plain_batches(self.images, (next(rows) for _ in range(self.iterations)))
        self._check_lost()
        held_out = ranks.first(self._held_out_loss)
        self.facts = {} if held_out is None else {"held_out_loss": held_out}
        if ranks.is_first():
            self._preview(epoch)

    @property
    def images_of_a_pass(self) -> int:
        """Those that are trained on."""
        return len(self.training)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = E λ(σ) ‖D(y + n; σ, E) - y‖² over noise levels σ and noise n."""
        pixels = batch.images.images
        if self.args.fake_flip:
            flips = torch.rand(len(batch.images.rows), generator=self.run.generator) < 0.5
            flips = flips[ranks.share(len(flips))].to(pixels.device, non_blocking=True)
            pixels = torch.where(flips[:, None, None, None], pixels.flip(2), pixels)
        loss = self._loss(self.generator, pixels, self.run.generator)
        is_lost = ~loss.detach().isfinite()
        self.lost += is_lost
        yield (
            "generator",
            {
                "denoising": (1.0, loss.nan_to_num(0.0, 0.0, 0.0)),
                "lost_batches": (0.0, is_lost.float()),
            },
        )
        self.step += 1
        self._follow()

    def _loss(
        self, network: nn.ModuleDict, pixels: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """E over σ and n of λ(σ) ‖D(y + n; σ, E) - y‖², drawn for the batch of all processes."""
        a, clean = self.args, self._clean(pixels)
        maps = network["adapter"](edges_of(pixels, a)) if self.is_conditional else None
        size = len(clean) * ranks.count()
        own = ranks.share(size)
        sigma = draw_noise_levels(size, a.noise_mean, a.noise_std, generator)[own]
        # From other host memory a copy of this size waits for the device.
        is_pinned = clean.device.type == "cuda"
        shape = size, *clean.shape[1:]
        noise = torch.randn(shape, generator=generator, pin_memory=is_pinned)[own]
        sigma, noise = (t.to(clean.device, non_blocking=True) for t in (sigma, noise))
        noisy = clean + sigma[:, None, None, None] * noise
        found = denoised(
            lambda x, c_noise: network["denoiser"](x, c_noise, maps), noisy, sigma, a.sigma_data
        )
        loss = denoising_loss(found, clean, sigma, a.sigma_data)
        return ranks.joined(loss[None]).mean() if ranks.count() > 1 else loss

    def _clean(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the diffusion draws: (B, c, h, w) in [-1, 1]."""
        if self.args.fake_channels == 1:
            return scaled(luminance(pixels))
        return scaled(pixels.permute(0, 3, 1, 2).float() / 255)

    def _follow(self) -> None:
        """One step of the exponential average, whose half-life grows with the images seen."""
        a = self.args
        half_life = min(LONGEST_HALF_LIFE, a.ema_ramp * self.step * a.batch_size)
        self.average.decay = 0.5 ** (a.batch_size / max(half_life, 1e-8)) if a.ema else 0.0
        self.average.update(self.generator)

    def _check_lost(self) -> None:
        """Go on after a batch whose loss is not finite, but stop if most batches of an epoch are.

        Raises:
            UserError: the generator no longer learns.
        """
        lost = int(self.lost)
        if 2 * lost > self.iterations:
            raise UserError(
                f"the loss of {lost} of {self.iterations} batches is not finite "
                f"{self.run.position}: lower --lr diffusion=RATE, or use --precision fp32; the "
                f"epochs before are saved in {self.run.folder / self.name}"
            )

    def _held_out_loss(self) -> float | None:
        """The loss on images that are not trained on, with the same noise every time."""
        if not len(self.held_out):
            return None
        generator = torch.Generator().manual_seed(self.args.seed)
        rows = self.held_out.split(self.args.batch_size)
        with self.evaluating(self.average):
            losses = [
                len(some) * self._loss(self.average.network, self.images.gather(some), generator)
                for some in rows
            ]
        return float(sum(losses)) / len(self.held_out)

    def _preview(self, epoch: int) -> None:
        """A picture of what the generator draws by now, from infrared and from visible edges."""
        with self.run.timed("preview"), self.evaluating(self.average):
            blocks = [
                self._previewed(title, self.data.small[name])
                for name, title in (
                    ("train_infrared", "from edges of infrared images"),
                    ("source", "from edges of the source's visible images"),
                    ("train_visible", "from edges of the target's visible images"),
                )
                if name in self.data.small
            ]
        folder = self.run.folder / self.name
        panels.save(panels.stacked(blocks), folder / f"preview_{epoch:03d}.png")

    def _previewed(self, title: str, array):
        return preview(title, self.average.network, *some_of(array, PREVIEWED), self.args)


def some_of(
    array: ImageArray, count: int, among: np.ndarray | None = None
) -> tuple[torch.Tensor, list[str]]:
    """Pixels (count, h, w, 3) uint8 and paths of images, evenly spaced.

    Args:
        array: the images.
        count: how many, if there are so many.
        among: (N,) int64 rows to choose from, all by default.
    """
    rows = np.arange(len(array)) if among is None else among
    rows = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]
    return array.gather(torch.from_numpy(rows)), [array.index.paths[row] for row in rows]


def preview(
    title: str,
    generator: nn.ModuleDict,
    pixels: torch.Tensor,
    paths: Sequence[str],
    args: Namespace,
    steps: Sequence[int] = (),
) -> Image.Image:
    """A picture of images, their edges and the fakes made from them.

    Args:
        title: what stands above.
        generator: trained.
        pixels: (B, h, w, 3) uint8.
        paths: of the images, which their noise depends on.
        args: of the stage.
        steps: numbers of sampling steps, a row of fakes each; the stage's own by default.
    """
    edges = edges_of(pixels, args)
    shape = args.fake_height, args.fake_width, args.fake_channels
    noise = noise_of(paths, shape, args.noise_seed).to(edges.device)
    rows = [("image", pixels), ("edges", quantised(scaled(edges)))]
    for number in steps or (args.sampling_steps,):
        name = f"{number} steps" if steps else "fake"
        rows.append((name, quantised(draw_images(generator, edges, noise, args, number))))
    return panels.panel(rows, title)


def _finite(parameter: nn.Parameter) -> None:
    """Replace gradients that are not finite by 0."""
    torch.nan_to_num_(parameter.grad, nan=0.0, posinf=0.0, neginf=0.0)

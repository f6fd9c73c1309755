"""Seconds and memory per fake infrared image, and of a training step of the generator.

    python -m benchmarks.generation                    # on a GPU: the sizes of the paper
    python -m benchmarks.generation --unet-width 64 --precision bf16 fp32 --batch 64 256
    python -m benchmarks.generation --device cpu --unet-width 32 --batch 2 --steps 3

The stages' own functions on noise in place of pictures.  CMAM-UDA's paper reports 0.47 s per image
and 1.16 s per iteration of 32 images on one RTX 3090, with 39 evaluations per image (Table VII).
"""

import argparse
import time

import torch

from benchmarks.record import Record, add_arguments, peak_gib, reset_peak, wait
from clustercontrast.engine.precision import autocast, tensor_cores
from clustercontrast.generation.edm import denoised, draw_noise_levels
from clustercontrast.losses.denoising import denoising_loss
from clustercontrast.methods.cmam.diffusion import build_generator, draw_images, edges_of
from clustercontrast.settings.command_line import parse

PAPER = "paper, RTX 3090: 0.47 s per image, 1.16 s per training iteration of 32 images"


def values(argv: list[str]) -> argparse.Namespace:
    """Flags of the stages that train the generator and that draw with it."""
    options = parse("sysu", ["--method", "cmam", *argv])
    both = (vars(options.at(stage)) for stage in ("diffusion", "generation"))
    return argparse.Namespace(**{name: value for own in both for name, value in own.items()})


def timed(work, repeats: int, device: torch.device) -> float:
    """Seconds of one call, the first one not counted."""
    work()
    wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    wait(device)
    return (time.perf_counter() - started) / repeats


def measure(args, batch: int, precision: str, device: torch.device, repeats: int) -> dict:
    """One line of the table."""
    reset_peak(device)
    generator = torch.Generator().manual_seed(0)
    network = build_generator(args).to(device).eval()
    shape = batch, args.fake_height, args.fake_width
    pixels = torch.randint(256, (*shape, 3), generator=generator, dtype=torch.uint8).to(device)
    noise = torch.randn(batch, args.fake_channels, *shape[1:], generator=generator).to(device)

    def draw():
        with torch.no_grad(), autocast(device, precision):
            draw_images(network, edges_of(pixels, args), noise, args)

    seconds = timed(draw, repeats, device) / batch
    return _row("draw", batch, precision, device) | {"seconds_per_image": seconds}


def measure_training(args, batch: int, precision: str, device: torch.device, repeats: int) -> dict:
    """Seconds of one training step."""
    reset_peak(device)
    generator = torch.Generator().manual_seed(0)
    network = build_generator(args).to(device).train()
    adam = torch.optim.Adam(network.parameters(), 1e-4)
    size = args.fake_height, args.fake_width
    clean = torch.randn(batch, args.fake_channels, *size, generator=generator).to(device)
    edges = torch.rand(batch, 1, *size, generator=generator).to(device)
    sigma = draw_noise_levels(batch, args.noise_mean, args.noise_std, generator).to(device)

    def step():
        adam.zero_grad(set_to_none=True)
        with autocast(device, precision):
            maps = network["adapter"](edges)
            noisy = clean + sigma[:, None, None, None] * torch.flip(clean, [0])
            found = denoised(
                lambda x, c: network["denoiser"](x, c, maps), noisy, sigma, args.sigma_data
            )
            loss = denoising_loss(found, clean, sigma, args.sigma_data)
        loss.backward()
        adam.step()

    with tensor_cores(precision):  # of the backward pass, too
        seconds = timed(step, repeats, device)
    return _row("train", batch, precision, device) | {"seconds_per_step": seconds}


def _row(what: str, batch: int, precision: str, device: torch.device) -> dict:
    return {"what": what, "precision": precision, "batch": batch, "peak_gib": peak_gib(device)}


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--unet-width", default="192")
    parser.add_argument("--sampling-steps", default="20")
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256])
    parser.add_argument(
        "--precision", nargs="+", default=["bf16"], choices=["bf16", "fp32", "tf32"]
    )
    parser.add_argument("--training-batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3, help="repetitions that are timed")
    add_arguments(parser)
    o = parser.parse_args()
    args = values(["--unet-width", o.unet_width, "--sampling-steps", o.sampling_steps])
    record = Record(o.json, o.device)
    for precision in o.precision:
        for batch in o.batch:
            record.add(measure(args, batch, precision, o.device, o.steps))
        record.add(measure_training(args, o.training_batch, precision, o.device, o.steps))
    print(PAPER)


if __name__ == "__main__":
    main()

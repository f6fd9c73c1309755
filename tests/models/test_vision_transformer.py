"""SDCL's vision transformer and its checkpoints against the official ones, and its switches."""

import json
import math
import re

import golden_set
import numpy as np
import pytest
import torch
from official import assert_checksum, tensors

from clustercontrast.files import UserError
from clustercontrast.models import vit_weights, weights
from clustercontrast.models.vision_transformer import IBN, Block, Stem, TwoStreamViT

PARTS, EVAL, TRAIN, LOAD = (
    f"sdcl/vit_{name}.npz" for name in ("parts", "b16_ics_eval", "b16_ics_train", "checkpoint_load")
)
KEY_FILES = ("sdcl/vit_keys.json", "sdcl/vit_keys_depth3_64x32.json")
DEAD = r"base\.(blocks\.{last}|norm|fc|decoder_norm)\."


def tolerance(file: str, what: str = "float64 rtol") -> float:
    """Number that follows ``what`` in the manifest's tolerance of a file."""
    return float(re.search(rf"{what} ([\d.e+-]+\d)", golden_set.entry_b(file)["tolerance"])[1])


def official_shapes(file: str) -> dict[str, list[int]]:
    keys = golden_set.load_json(file)
    return keys.get("state_dict", keys)


def depth_of(shapes: dict[str, list[int]]) -> int:
    return 1 + max(int(n.split(".")[2]) for n in shapes if n.startswith("base.blocks."))


def sizes_of(shapes: dict[str, list[int]]) -> dict[str, int]:
    _, slots, width = shapes["base.pos_embed"]
    return {"tokens": slots - 1, "width": width, "depth": depth_of(shapes)}


def filled(name: str, shape: list[int]) -> torch.Tensor:
    return torch.as_tensor(golden_set.fill_b().vit_param(name, shape, golden_set.salt_b()))


def on_no_device(**sizes) -> TwoStreamViT:
    """A network of names and shapes only."""
    with torch.device("meta"):
        return TwoStreamViT(**sizes)


@pytest.fixture(scope="module")
def filled_network() -> TwoStreamViT:
    """The official network in float64, every tensor filled by the golden rule."""
    shapes = official_shapes(KEY_FILES[0])
    state = {n: filled(n, shape) for n, shape in shapes.items() if vit_weights.our_name(n)}
    rate = golden_set.entry_b(TRAIN)["params"]["DROP_PATH"]
    network = on_no_device(**sizes_of(shapes), drop_path=rate).to_empty(device="cpu")
    ours = {vit_weights.our_name(name): tensor for name, tensor in state.items()}
    weights.load(network, ours, "the golden rule")
    return network.double().requires_grad_(False)


@pytest.fixture
def official_network(filled_network):
    buffers = {name: t.clone() for name, t in filled_network.named_buffers()}
    yield filled_network
    for name, tensor in filled_network.named_buffers():
        tensor.copy_(buffers[name])


def small(seed: int = 0, **options) -> TwoStreamViT:
    torch.manual_seed(seed)
    return TwoStreamViT(**{"tokens": 8, "width": 64, "depth": 3} | options).double().train()


def batches(visible: int = 8, infrared: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return tuple(torch.randn(n, 3, 64, 32, dtype=torch.float64) for n in (visible, infrared))


# --- parts against the official ones ---


@pytest.mark.parametrize("name", [n for n in golden_set.load(PARTS) if re.search(r"\dx\d", n)])
def test_resized_positions_equal_the_official_ones(name):
    vectors = golden_set.load(PARTS)
    grid = tuple(map(int, name.removeprefix("pos_embed_").split("x")))
    resized = vit_weights.resize_positions(torch.from_numpy(vectors["pos_embed_in"]), grid)
    np.testing.assert_allclose(
        resized, vectors[name], rtol=0, atol=tolerance(PARTS, "pos_embed atol")
    )


def test_positions_of_the_same_grid_stay_and_others_are_refused():
    positions = torch.randn(1, 1 + 8, 5)
    torch.testing.assert_close(vit_weights.resize_positions(positions, (4, 2)), positions)
    with pytest.raises(ValueError, match="16 patches do not fill a grid twice as high as wide"):
        vit_weights.resize_positions(torch.randn(1, 1 + 16, 5), (4, 2))


def test_a_bilinear_step_by_hand():
    """Twice as many rows: a new row lies a quarter of a step off an old one."""
    rows = torch.tensor([7.0, 0.0, 4.0])  # class token, then a grid of 2 x 1
    resized = vit_weights.resize_positions(rows.view(1, 3, 1), (4, 1))
    assert resized.flatten().tolist() == [7.0, 0.0, 1.0, 3.0, 4.0]


def test_skipped_branches_equal_the_official_ones():
    """Every image is scaled or dropped as a whole, as the recorded mask does."""
    vectors, entry = golden_set.load(PARTS), golden_set.entry_b(PARTS)
    rate = float(re.search(r"drop_path\(x, ([\d.]+),", entry["upstream"]["function"])[1])
    layer = Block(64, rate).train().stochastic_depth
    keep, images = vectors["drop_path_keep"], torch.from_numpy(vectors["drop_path_in"])
    tested = np.zeros_like(keep)
    torch.manual_seed(0)
    for _ in range(50):
        out = layer(images).numpy()
        kept = out.any(axis=(1, 2))
        alike = kept == keep
        atol = tolerance(PARTS, "drop path atol")
        expected = vectors["drop_path_out"][alike]
        np.testing.assert_allclose(out[alike], expected, rtol=0, atol=atol)
        tested |= alike
    assert tested.all()


def test_rates_of_stochastic_depth_equal_the_official_ones():
    rates = golden_set.load(PARTS)["drop_path_rates"]
    network = on_no_device(width=64, depth=len(rates), drop_path=rates[-1])
    used = [block.stochastic_depth.p for block in network.blocks]
    last = {network.deep[0].stochastic_depth.p, network.shallow[0].stochastic_depth.p}
    np.testing.assert_allclose(used, rates[:-1], rtol=0, atol=1e-8)  # recorded in float32
    assert last == {rates[-1]}


def test_stem_equals_the_official_one():
    vectors, params = golden_set.load(PARTS), golden_set.entry_b(PARTS)["params"]
    shapes = params["stem_key_shapes"]
    stem = Stem(shapes["proj.weight"][0]).double()
    state = {stem_name(n): filled(f"stemtest.{n}", shape) for n, shape in shapes.items()}
    stem.load_state_dict(state)
    tag, *sizes = re.search(r"'(.+)', (\d+), (\d+), (\d+)", params["stem_images"]).groups()
    images = golden_set.fill().images(tag, *map(int, sizes), params["salt"])
    images = torch.from_numpy(images).double()
    atol = tolerance(PARTS, "stem float64")
    for mode in ("train", "eval"):
        tokens = stem.train(mode == "train")(images).detach()
        np.testing.assert_allclose(tokens, vectors[f"stem_out_{mode}"], rtol=0, atol=atol)
    for name, row in zip(vectors["stem_running_names"], vectors["stem_running"], strict=True):
        assert_checksum(stem.state_dict()[stem_name(name)], row, atol, name)


def stem_name(official: str) -> str:
    return vit_weights.our_name(f"base.patch_embed.{official}").removeprefix("visible_stem.")


def test_ibn_normalises_halves_by_image_and_by_batch():
    torch.manual_seed(0)
    maps = torch.randn(3, 4, 5, 6, dtype=torch.float64) + torch.arange(3).view(3, 1, 1, 1)
    out = IBN(4).double().train()(maps)
    assert out[:, :2].mean(dim=(2, 3)).abs().max() < 1e-12
    assert out[:, 2:].mean(dim=(0, 2, 3)).abs().max() < 1e-12
    assert out[:, 2:].mean(dim=(2, 3)).abs().max() > 0.1


def test_block_equals_its_formulas():
    """Twin with one loop over heads, the softmax and the Gaussian error function written out."""
    torch.manual_seed(0)
    block, tokens = Block(128, 0.1).double().eval(), torch.randn(2, 5, 128, dtype=torch.float64)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.2)

    def norm(x, layer):
        spread = (x.var(dim=-1, correction=0, keepdim=True) + 1e-6).sqrt()
        return (x - x.mean(dim=-1, keepdim=True)) / spread * layer.weight + layer.bias

    qkv = norm(tokens, block.attention_norm) @ block.qkv.weight.T + block.qkv.bias
    heads = []
    for h in range(2):
        query, key, value = (qkv[..., 128 * i + 64 * h : 128 * i + 64 * h + 64] for i in range(3))
        scores = torch.exp(query @ key.transpose(1, 2) / 8)
        heads.append(scores / scores.sum(dim=2, keepdim=True) @ value)
    expected = tokens + block.attention_out(torch.cat(heads, dim=2))
    hidden = block.mlp[0](norm(expected, block.mlp_norm))
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
    expected = expected + block.mlp[2](hidden)
    torch.testing.assert_close(block(tokens), expected, rtol=1e-10, atol=1e-10)


def test_every_image_skips_each_branch_on_its_own():
    torch.manual_seed(0)
    block = Block(64, 0.5).double()
    tokens = torch.randn(1, 3, 64, dtype=torch.float64).repeat(64, 1, 1)
    outputs = block.train()(tokens).detach().flatten(1).round(decimals=9).unique(dim=0)
    assert len(outputs) == 4  # attention kept or not, MLP kept or not
    unchanged = Block(64, 1.0).double().train()(tokens)
    assert torch.equal(unchanged, tokens)


# --- names and checkpoints ---


@pytest.mark.parametrize("file", KEY_FILES)
def test_official_names_cover_the_network_exactly(file):
    shapes = official_shapes(file)
    depth = depth_of(shapes)
    names = {name: vit_weights.our_name(f"module.{name}", depth) for name in shapes}
    dead = DEAD.replace("{last}", str(depth - 1))
    assert {n for n, ours in names.items() if not ours} == {n for n in shapes if re.match(dead, n)}
    own = {n: list(t.shape) for n, t in on_no_device(**sizes_of(shapes)).state_dict().items()}
    assert {ours: shapes[name] for name, ours in names.items() if ours} == own


def test_trained_parameters_are_those_of_the_official_network():
    network = on_no_device(**sizes_of(official_shapes(KEY_FILES[0])))
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trained == 98_732_928  # docs/methods/sdcl.md#backbone
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"neck.bias", "shallow_neck.bias"}


@pytest.mark.slow
def test_pretrained_checkpoint_loads_as_the_official_loader_does():
    vectors = golden_set.load(LOAD)
    shapes = zip(vectors["ckpt_keys"], map(json.loads, vectors["ckpt_shapes"]), strict=True)
    content = {str(name): filled(str(name), shape) for name, shape in shapes}
    content["head.weight"] = torch.zeros(3, 2)
    sizes = sizes_of(official_shapes(KEY_FILES[0]))
    network = TwoStreamViT(**sizes)
    state = vit_weights.from_pretrained(content, sizes["tokens"])
    report = weights.load(network, state, "the file", ("neck", "shallow_neck"))
    assert report.unused == 0
    loaded, own = 0, network.state_dict()
    for name, row in zip(vectors["loaded_keys"], vectors["loaded"], strict=True):
        if ours := vit_weights.our_name(str(name)):
            assert_checksum(own[ours], row, tolerance(LOAD, "checksums rtol"), ours)
            loaded += 1
    tracked = [name for name in own if name.endswith("num_batches_tracked")]
    assert loaded == len(own) - len(tracked)


def transreid(depth: int = 3, width: int = 64, patches: int = 32) -> dict[str, torch.Tensor]:
    """A small random checkpoint with the names of TransReID-SSL."""
    shapes = {"cls_token": [1, 1, width], "pos_embed": [1, 1 + patches, width]}
    for name, shape in official_shapes(KEY_FILES[0]).items():
        inner = name.removeprefix("base.")
        if not name.startswith("base.") or inner.startswith(("patch_embed2", "fc", "decoder")):
            continue
        block = re.match(r"blocks\.(\d+)", inner)
        if inner not in shapes and (not block or int(block[1]) < depth):
            shapes[inner] = [n * width // 768 if n % 768 == 0 and n else n for n in shape]
    torch.manual_seed(3)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("shallow", [True, False])
def test_last_block_norm_and_stem_are_copied(shallow):
    content = transreid()
    state = vit_weights.from_pretrained(content, 8, shallow)
    network = small(shallow=shallow)
    report = weights.load(network, state, "the file", ("neck", "shallow_neck"))
    assert report.unused == 0
    heads = ("deep", "shallow") if shallow else ("deep",)
    for head in heads:
        assert torch.equal(state[f"{head}.0.qkv.weight"], content["blocks.2.attn.qkv.weight"])
        assert torch.equal(state[f"{head}.1.bias"], content["norm.bias"])
    for stem in ("visible_stem", "infrared_stem"):
        expected = content["patch_embed.conv.4.BN.running_var"]
        assert torch.equal(state[f"{stem}.layers.4.batch.running_var"], expected)
    assert not any(name.startswith("blocks.2.") or "neck" in name for name in state)


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "teacher"])
def test_wrappers_prefixes_and_heads_do_not_matter(wrapper):
    flat = transreid()
    prefix = "backbone." if wrapper == "teacher" else "module."
    inner = {prefix + name: tensor for name, tensor in flat.items()}
    inner |= {"head.mlp.0.weight": torch.zeros(2), f"{prefix}dist_token": torch.zeros(2)}
    content = {wrapper: inner, "epoch": 3}
    assert vit_weights.is_pretrained(content)
    assert not vit_weights.is_official(content[wrapper])
    got, expected = (vit_weights.from_pretrained(c, 8) for c in (content, flat))
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in got)


def test_official_checkpoint_loads_and_its_dead_parts_are_dropped():
    shapes = official_shapes(KEY_FILES[0])
    official = {f"module.{n}": torch.empty(shape, device="meta") for n, shape in shapes.items()}
    assert vit_weights.is_official(official)
    assert not vit_weights.is_pretrained(official)
    state = vit_weights.from_official(official)
    assert state.keys() == on_no_device(**sizes_of(shapes)).state_dict().keys()
    name = "module.b2.0.mlp.fc2.weight"
    assert state["shallow.0.mlp.2.weight"] is official[name]


def test_files_of_other_networks_are_told_apart():
    own = small().state_dict()
    plain = {n: t for n, t in transreid().items() if ".conv." not in n}  # a ViT without ICS stem
    for state in (own, plain, {"conv1.weight": torch.zeros(1)}, {"weights": own}):
        assert not vit_weights.is_official(state)
        assert not vit_weights.is_pretrained(state)


def test_pretrained_positions_need_a_grid_of_two_to_one():
    with pytest.raises(ValueError, match="12 patches do not fill a grid twice as high as wide"):
        vit_weights.from_pretrained(transreid(), 12)


# --- switches ---


def test_groups_equal_separate_replicas_and_only_the_first_keeps_statistics():
    reference, grouped = small(drop_path=0.0), small(drop_path=0.0, bn_groups=2)
    visible, infrared = batches()
    first = reference(visible[:4], infrared[:2])
    kept = {name: t.clone() for name, t in reference.named_buffers()}
    second = reference(visible[4:], infrared[2:])
    got = grouped(visible, infrared)
    for value, one, two in zip(got, first, second, strict=True):
        torch.testing.assert_close(value, torch.cat([one, two]), rtol=0, atol=1e-12)
    for name, value in grouped.named_buffers():
        torch.testing.assert_close(value, kept[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("drop_path", [0.0, 0.5])
def test_recomputed_blocks_give_the_same_gradients_and_touch_statistics_once(drop_path, groups):
    options = {"drop_path": drop_path, "bn_groups": groups}
    plain, recomputed = small(**options), small(**options, recompute=True)
    visible, infrared = batches()
    for network in (plain, recomputed):
        torch.manual_seed(5)
        sum(f.pow(3).sum() for f in network(visible, infrared)).backward()
    expected = tensors(plain)
    for name, value in tensors(recomputed).items():
        assert torch.equal(value, expected[name]), name
        if value.requires_grad:
            torch.testing.assert_close(value.grad, expected[name].grad, rtol=1e-12, atol=1e-12)


def test_recomputing_forgets_the_inside_of_the_blocks():
    def saved_bytes(recompute: bool) -> int:
        network, total = small(depth=12, recompute=recompute), 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        tokens = torch.randn(4, 9, 64, dtype=torch.float64, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            network.trunk(tokens)
        return total

    assert saved_bytes(True) < 0.1 * saved_bytes(False)


def test_without_the_shallow_feature_the_deep_one_is_the_same():
    both = small(drop_path=0.0)
    deep = small(seed=7, drop_path=0.0, shallow=False)
    deep.load_state_dict(both.state_dict(), strict=False)
    visible, infrared = batches()
    d = deep.width
    assert both.width == 2 * d == 128
    for value, pair in zip(deep(visible, infrared), both(visible, infrared), strict=True):
        assert torch.equal(value, pair[:, :d])
    raw = both.eval().embed(infrared, "infrared")
    unit = deep.eval().embed(infrared, "infrared")
    torch.testing.assert_close(unit, raw[:, :d] / raw[:, :d].norm(dim=1, keepdim=True))
    assert (raw.norm(dim=1) - 1).abs().min() > 0.1  # not normalised


def test_shallow_feature_reads_raw_patches_beside_the_deep_class_token():
    """The patches, at their positions, bypass the shared blocks; the class token does not."""
    network = small(drop_path=0.0).eval()
    visible, _ = batches()
    raw = network.tokens(network.visible_stem(visible))
    deep = network.trunk(raw)
    mixed = torch.cat([deep[:, :1], raw[:, 1:]], dim=1)
    block, norm = network.shallow
    expected = network.shallow_neck(norm(block(mixed))[:, 0])
    got = network.embed(visible, "visible")[:, network.width // 2 :]
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_pooled_is_what_the_neck_reads():
    network = small(drop_path=0.0)
    visible, infrared = batches()
    pooled, behind = network.pooled(visible, infrared)
    assert pooled.shape == (12, 64)
    both = torch.cat(network(visible, infrared))
    torch.testing.assert_close(network.neck(pooled), both[:, :64], rtol=0, atol=1e-12)
    torch.testing.assert_close(behind, both[:, :64], rtol=0, atol=1e-12)


def test_modalities_have_stems_of_their_own_that_start_alike():
    network = small().eval()
    visible, _ = batches()
    assert torch.equal(network.embed(visible, "visible"), network.embed(visible, "infrared"))
    with torch.no_grad():
        network.infrared_stem.projection.bias.add_(1.0)
    assert (network.embed(visible, "visible") - network.embed(visible, "infrared")).abs().max() > 0


def test_shallow_losses_train_the_shared_blocks_and_both_stems():
    """No gradient is stopped: the class token leads back through all blocks."""
    network = small(drop_path=0.0)
    torch.cat(network(*batches()))[:, 64:].pow(3).sum().backward()
    trained = {n: p.grad for n, p in network.named_parameters() if p.requires_grad}
    untouched = {name for name, gradient in trained.items() if not gradient.any()}
    deep = {name for name in trained if name.startswith(("deep.", "neck."))}
    assert untouched - {"shallow.1.bias"} == deep  # the neck takes that bias away again


def test_first_weights_are_those_of_a_vit():
    network = small(width=128)
    for name, parameter in network.named_parameters():
        inside = any(part in name for part in ("blocks.", "deep.", "shallow."))
        if parameter.dim() == 3 or (inside and parameter.dim() == 2):
            assert 0.018 < parameter.std() < 0.022, name
        elif parameter.dim() == 1 and "projection" not in name:
            one = name.endswith("weight")
            assert torch.equal(parameter, torch.full_like(parameter, float(one))), name
    for deep, shallow in zip(network.deep.parameters(), network.shallow.parameters(), strict=True):
        assert torch.equal(deep, shallow)
        assert deep is not shallow


@pytest.mark.parametrize("size", [(64, 64), (48, 32)])
def test_images_of_another_size_are_refused(size):
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    patches = size[0] * size[1] // 256
    with pytest.raises(ValueError, match=rf"have {patches} patches of 16x16.* positions for 8"):
        small().embed(images, "visible")


def test_an_indivisible_batch_is_refused():
    with pytest.raises(ValueError, match="a batch of 6 images does not divide by 4 groups"):
        small(bn_groups=4)(*batches(6, 4))


def test_the_shallow_feature_may_begin_as_the_deep_one(tmp_path):
    """Weights of another method's network, which has no shallow feature."""
    source, network = (TwoStreamViT(8, 64, 3, shallow=shallow) for shallow in (False, True))
    torch.save({"weights": source.state_dict()}, tmp_path / "deep.pth")
    weights.start(network, str(tmp_path / "deep.pth"))
    state = network.state_dict()
    for name, tensor in source.state_dict().items():
        assert torch.equal(state[name], tensor)
        if name.startswith("deep."):
            assert torch.equal(state[name.replace("deep.", "shallow.")], tensor)
    assert network.neck.weight is not network.shallow_neck.weight


def test_a_missing_file_of_weights_says_where_to_get_it():
    with pytest.raises(UserError, match=r"fetch vit_base_ics_cfs_lup\.pth"):
        weights.start(TwoStreamViT(8, 64, 3), "imagenet")


def test_pretrained_weights_of_another_size_are_named(tmp_path):
    file = tmp_path / "lup.pth"
    vectors = golden_set.load(LOAD)
    shapes = map(json.loads, vectors["ckpt_shapes"])
    names = map(str, vectors["ckpt_keys"])
    torch.save({n: torch.zeros(()).expand(s) for n, s in zip(names, shapes, strict=True)}, file)
    with pytest.raises(UserError, match="another architecture"):
        weights.start(TwoStreamViT(8, 64, 12), str(file))
    with pytest.raises(UserError, match="not fill a grid twice as high as wide"):
        weights.start(TwoStreamViT(7, 768, 12), str(file))


# --- the whole network against the official one: last, for it is large ---


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "modality"), [("rgb", "visible"), ("ir", "infrared")])
def test_retrieval_features_equal_the_official_ones(official_network, suffix, modality):
    network, vectors = official_network.eval(), golden_set.load(EVAL)
    params, rtol = golden_set.entry_b(EVAL)["params"], tolerance(EVAL)
    n = len(vectors[f"eval_deep_{suffix}"])
    images = golden_set.fill().images(f"sdcl/{suffix}", n, *params["image"], params["salt"])
    seen, handles = {}, []
    for name, module, inputs in (
        ("tokens", network.blocks[0], True),
        ("block0", network.blocks[0], False),
        ("block10", network.blocks[-1], False),
        ("b2_in", network.shallow[0], True),
        ("deep_raw", network.neck, True),
        ("shallow_raw", network.shallow_neck, True),
    ):

        def keep(_, args, output, name=name, inputs=inputs):
            seen[name] = args[0] if inputs else output

        handles.append(module.register_forward_hook(keep))
    features = network.embed(torch.from_numpy(images).double(), modality)
    for handle in handles:
        handle.remove()
    seen["deep"], seen["shallow"] = features.chunk(2, dim=1)
    for name, value in seen.items():
        expected = vectors[f"eval_{name}_{suffix}"]
        if value.dim() == 2:
            np.testing.assert_allclose(value, expected, rtol=rtol, atol=rtol, err_msg=name)
            continue
        last = value.shape[1] - 1
        for image, rows in zip(value, expected, strict=True):
            for slot, row in zip((0, 1, last // 2, last), rows, strict=True):
                assert_checksum(image[slot], row, rtol, f"{name}, token {slot}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "split2"])
def test_training_forward_and_running_statistics_equal_the_official_ones(official_network, kind):
    network, vectors = official_network.train(), golden_set.load(TRAIN)
    params, rtol = golden_set.entry_b(TRAIN)["params"], tolerance(TRAIN)
    network.bn_groups = 1 if kind == "plain" else int(kind.removeprefix("split"))
    visible, infrared = (
        golden_set.fill().id_images(
            f"sdcl_{m}", 0, params[f"ids_{m}"], *params["image"], params["salt"]
        )
        for m in ("rgb", "ir")
    )
    both = network(torch.from_numpy(visible).double(), torch.from_numpy(infrared).double())
    for suffix, features in zip(("rgb", "ir"), both, strict=True):
        for depth, value in zip(("deep", "shallow"), features.chunk(2, dim=1), strict=True):
            expected = vectors[f"{kind}_{depth}_{suffix}"]
            np.testing.assert_allclose(value, expected, rtol=rtol, atol=rtol)
    buffers = dict(network.named_buffers())
    names = [vit_weights.our_name(name) for name in vectors["buffer_names"]]
    assert {n for n in buffers if "running" in n} == {n for n in names if n}
    for name, row in zip(names, vectors[f"{kind}_buffers"], strict=True):
        if name:
            assert_checksum(buffers[name], row, rtol, name)

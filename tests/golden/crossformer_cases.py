"""Comparisons of CrossFormer with its authors' code: weights and images come from seeds, files hold outputs only.

``make_golden_crossformer.py`` gives the authors' models the same weights.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_setdet.models.backbones import CrossFormer
from mmdet_setdet.models.backbones.crossformer import ARCHS  # noqa: F401

FILE = Path(__file__).parent / 'crossformer.npz'
# By their code of 2021, whose long distance groups span the map: ``attention='short-long-map'``.
FIRST_FILE = FILE.with_name('crossformer_first.npz')
# Their code floors to multiples of 4, and requires maps that can be halved three times. The first is smaller than a
# group at all strides but one; in the second long distance groups end in the middle of an interval's span.
SIZES = ((35, 66), (64, 128))
# Compared by hand only: the last two have maps of which one side is a group and the other is not.
LARGE_SIZES = ((224, 224), (256, 320), (800, 1216), (64, 416), (417, 33))
FIRST_SIZES = (*SIZES, (64, 416))
CLASSIFIED = ('tiny', 'plus-small')  # whose logits at 224 x 224 are kept
GRADIENTS = ('small', (64, 128))
WATCHED = (
    'patch_embed.projs.3.weight',
    'layers.0.blocks.1.attn.qkv.weight',
    'layers.1.downsample.reductions.1.weight',
    'layers.2.blocks.3.attn.pos.pos1.2.weight',
    'layers.2.blocks.4.mlp.fc2.weight',
    'layers.3.blocks.1.norm1.bias',
)
# Their weights are near 1; all other vectors are near 0.
NORM_WEIGHTS = ('norm.weight', 'norm1.weight', 'norm2.weight', 'ex_ln.weight', '.0.weight')


@torch.no_grad()
def seeded_weights(model: nn.Module, seed: int = 11) -> nn.Module:
    """Fill parameters from one generator, in the order of their names, at a scale at which all branches matter."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(model.state_dict().items()):
        random = torch.randn(tensor.shape, generator=generator)
        if tensor.dim() > 1:
            tensor.copy_(random * tensor[0].numel() ** -0.5)
        else:
            centre = 1 if name.endswith(NORM_WEIGHTS) else 0
            tensor.copy_(random * 0.1 + centre)
    return model.eval()


def images(size: tuple[int, int], count: int = 2) -> Tensor:
    """Return noise, (B, 3, H, W)."""
    generator = torch.Generator().manual_seed(sum(size))
    return torch.randn(count, 3, *size, generator=generator)


def classifier_weights(dims: int) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a classifier of 1000 classes."""
    generator = torch.Generator().manual_seed(dims)
    weight = torch.randn(1000, dims, generator=generator) * dims**-0.5
    bias = torch.randn(1000, generator=generator)
    return weight, bias


def build(arch: str, **kwargs) -> CrossFormer:
    """Build our model with seeded weights."""
    return seeded_weights(CrossFormer(arch, **kwargs))


def thinned(x: Tensor, count: int = 40) -> np.ndarray:
    """Return the norm of a tensor and some of its entries, at even distances."""
    flat = x.detach().flatten()
    step = max(flat.numel() // count, 1)
    return torch.cat([flat.norm()[None], flat[::step]]).numpy()


def entry(arch: str, size: tuple[int, int]) -> str:
    """Return the name of maps in a file; the stage's number follows."""
    return f'{arch} {size[0]}x{size[1]} stage'


def logits(model: CrossFormer) -> Tensor:
    """Return logits for one image of 224 x 224 by a model with ``final_norm`` and the last stage alone."""
    x = model(images((224, 224), 1))[-1].mean((2, 3))
    return nn.functional.linear(x, *classifier_weights(x.shape[1]))


def operations(model: CrossFormer) -> int:
    """Count multiplications for an image of 224 x 224 with a classifier, as papers do; the model may be on 'meta'."""
    model.patch_embed.requires_grad_(
        False
    )  # else its kernels are widened, which costs operations and saves time
    image = torch.empty(1, 3, 224, 224, device=model.patch_embed.norm.weight.device)
    # With a graph: the counter does not see a CPU's fused attention.
    with FlopCounterMode(display=False) as counter:
        x = model(image)[-1]
    return counter.get_total_flops() // 2 + 1000 * x.shape[1]


def gradients(maps: list[Tensor], parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return gradients of :data:`WATCHED`, of a loss on all maps."""
    loss = 0.0
    for stage_map in maps:
        channel_weights = torch.linspace(-1, 1, stage_map.shape[1])
        weighted = stage_map * channel_weights.view(-1, 1, 1)
        loss = loss + weighted.square().mean()
    watched = [parameters[name] for name in WATCHED]
    return dict(zip(WATCHED, torch.autograd.grad(loss, watched)))

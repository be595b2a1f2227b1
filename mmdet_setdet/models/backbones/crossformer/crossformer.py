"""The backbone CrossFormer: a cross-scale embedding and stages of blocks, with another embedding between stages."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule, ModuleList
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from ....registry import MODELS
from ..pretrained import PretrainedMixin
from .archs import arch_settings, check_indices, check_position
from .embedding import PatchEmbed, PatchMerging
from .stage import Stage

INIT_CFG = [
    dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
    dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
]


@MODELS.register_module()
class CrossFormer(PretrainedMixin, BaseModule):
    """CrossFormer (arXiv 2108.00154) and CrossFormer++ (2303.06908), with the parameter names of their authors.

    Accepts images of any size. For sizes that the authors' code accepts the results are the same: the first layer
    rounds down to multiples of 4, and a map with a side of at most a group's size is one group. Other sizes are rounded
    up at the later layers.

    Args:
        arch (str | dict): 'tiny', 'small', 'base', 'large', 'plus-small', 'plus-base', 'plus-large', 'plus-huge', or a
            dict of ``embed_dims``, a multiple of 32, ``depths`` and, optionally, the next four arguments.
        group_sizes (Sequence[int], optional): G of the papers, side of the groups, per stage. By default 7 unless the
            arch says otherwise.
        intervals (Sequence[int], optional): I of the papers, sampling interval of long distance attention, per stage.
            By default 8, 4, 2, 1 unless the arch says otherwise.
        cooling (bool, optional): Activation cooling layers (CrossFormer++). By default in the plus archs.
        drop_path_rate (float, optional): Stochastic depth of the last block; it grows linearly from 0 at the first.
        patch_sizes (Sequence[int]): Kernels of the first layer. ``(4, )`` is the single-scale ablation.
        merge_sizes (Sequence[int]): Kernels of the layers between stages. ``(2, )`` is the single-scale ablation.
        attention (str): 'short-long': short and long distance in turn. 'short': no long distance attention. 'swin':
            groups are shifted in every other block. 'pvt': all tokens attend to a pooled map, with the intervals as its
            strides. 'short-long-map': long distance groups span the whole map, as in the code with which the authors'
            detectors were published.
        position (str): 'dynamic' bias; 'dynamic-residual'; 'relative': a table of biases; 'absolute': embeddings
            added to the first tokens; 'none'. The first three cannot be combined with 'pvt', nor 'relative' with
            'short-long-map'.
        pretrain_img_size (int): Side of the images for which absolute positions are kept; for others these are
            interpolated.
        in_channels (int): Channels of the image.
        out_indices (Sequence[int]): Stages whose maps are returned; later ones are not built.
        final_norm (bool): Normalise the last map, as a classifier requires. The authors' detectors do without.
        frozen_stages (int): 0 freezes the first layer, N the first N stages too; -1 nothing.
        with_cp (bool): Compute blocks again in the backward pass to save memory.
        init_cfg (dict, optional): The authors' initialisation by default. For 'Pretrained' see
            :func:`load_pretrained`.

    Raises:
        InputError: An argument has a value that is not listed, or does not fit the number of stages.
    """

    def __init__(
        self,
        arch: str | dict = 'small',
        group_sizes: Sequence[int] | None = None,
        intervals: Sequence[int] | None = None,
        cooling: bool | None = None,
        drop_path_rate: float | None = None,
        patch_sizes: Sequence[int] = (4, 8, 16, 32),
        merge_sizes: Sequence[int] = (2, 4),
        attention: str = 'short-long',
        position: str = 'dynamic',
        pretrain_img_size: int = 224,
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        final_norm: bool = False,
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg or INIT_CFG)
        settings = arch_settings(
            arch,
            group_sizes=group_sizes,
            intervals=intervals,
            cooling=cooling,
            drop_path_rate=drop_path_rate,
        )
        depths = settings['depths']
        check_position(attention, position)
        check_indices(len(depths), out_indices, frozen_stages)
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages

        dims = settings['embed_dims']
        self.patch_embed = PatchEmbed(in_channels, dims, patch_sizes)
        self.absolute = position == 'absolute'
        if self.absolute:
            table = torch.empty(1, (pretrain_img_size // 4) ** 2, dims)
            self.absolute_pos_embed = nn.Parameter(trunc_normal_(table, std=0.02))

        rates = torch.linspace(0, settings['drop_path_rate'], sum(depths), device='cpu')
        stage_rates = rates.split(list(depths))
        last = max(out_indices)
        self.layers = ModuleList()
        for index in range(last + 1):
            stage = Stage(
                dims * 2**index,
                stage_rates[index].tolist(),
                settings['group_sizes'][index],
                settings['intervals'][index],
                attention,
                position,
                settings['cooling'],
                with_cp,
            )
            if index < last:
                stage.downsample = PatchMerging(dims * 2**index, merge_sizes)
            self.layers.append(stage)
        self.final_norm = final_norm
        if final_norm:
            self.norm = nn.LayerNorm(dims * 2**last)
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) -> maps of ``out_indices``, (B, C, H / stride, W / stride), channels last in memory."""
        x = self.patch_embed(x)
        if self.absolute:
            x = x + self._absolute_positions(*x.shape[1:3])
        maps = []
        for index, stage in enumerate(self.layers):
            x = stage(x)
            if index in self.out_indices:
                is_last = stage.downsample is None
                stage_map = self.norm(x) if self.final_norm and is_last else x
                maps.append(stage_map.permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(x)
        return tuple(maps)

    def train(self, mode: bool = True) -> 'CrossFormer':
        """Set the mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def _absolute_positions(self, height: int, width: int) -> Tensor:
        """Return the absolute positions of a map, (1, H, W, C)."""
        side = round(self.absolute_pos_embed.shape[1] ** 0.5)
        table = self.absolute_pos_embed.unflatten(1, (side, side))
        table = table.permute(0, 3, 1, 2)
        table = F.interpolate(table, (height, width), mode='bicubic')
        return table.permute(0, 2, 3, 1)

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        if self.absolute:
            self.absolute_pos_embed.requires_grad_(False)
        self.patch_embed.eval().requires_grad_(False)
        for stage in self.layers[: self.frozen_stages]:
            stage.eval().requires_grad_(False)

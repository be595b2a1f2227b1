"""CrossFormer and CrossFormer++ (arXiv 2108.00154, 2303.06908): cross-scale embeddings, short and long attention.

Tokens are kept in the order of their attention groups, see :mod:`..layers.grouped_attention`. All else in a block
concerns each token alone and does not care for the order. So a block costs one reordering, maps of any size need
neither padding nor masks, and on a CPU some groups at a time pass through the whole block while its cache holds them.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule, ModuleList
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...errors import InputError
from ...registry import MODELS
from ..layers.grouped_attention import (
    HEAD_DIMS,
    Attention,
    DynamicPosition,
    Groups,
    PooledAttention,
    RelativePosition,
    axis_groups,
    relative_positions,
)
from ..layers.linear import MLP
from .loading import take_backbone

_PLUS = dict(group_sizes=(4, 4, 14, 7), intervals=(4, 2, 1, 1), cooling=True)
ARCHS = {
    'tiny': dict(embed_dims=64, depths=(1, 1, 8, 6), drop_path_rate=0.1),
    'small': dict(embed_dims=96, depths=(2, 2, 6, 2), drop_path_rate=0.2),
    'base': dict(embed_dims=96, depths=(2, 2, 18, 2), drop_path_rate=0.3),
    'large': dict(embed_dims=128, depths=(2, 2, 18, 2), drop_path_rate=0.5),
    'plus-small': dict(embed_dims=64, depths=(2, 2, 18, 2), drop_path_rate=0.2, **_PLUS),
    'plus-base': dict(embed_dims=96, depths=(2, 2, 18, 2), drop_path_rate=0.3, **_PLUS),
    'plus-large': dict(embed_dims=128, depths=(2, 2, 18, 2), drop_path_rate=0.5, **_PLUS),
    'plus-huge': dict(embed_dims=128, depths=(6, 6, 18, 2), drop_path_rate=0.5, **_PLUS),
}
DEFAULTS = dict(group_sizes=(7, 7, 7, 7), intervals=(8, 4, 2, 1), cooling=False, drop_path_rate=0.)
ATTENTIONS = ('short-long', 'short-long-map', 'short', 'swin', 'pvt')
POSITIONS = ('dynamic', 'dynamic-residual', 'relative', 'absolute', 'none')
# Floats of its widest activation that a block handles at a time and thread on a CPU: they stay in the cache.
CACHED_FLOATS = 2**21
# What the authors' first release keeps in its checkpoints beside the weights.
TABLES = ('.attn.biases', '.attn.relative_position_index', '.attn_mask')


class Block(nn.Module):
    """Attention and a two-layer network on normalised tokens, both with a shortcut.

    Args:
        dims (int): Channels.
        attn (nn.Module): :class:`Attention` or :class:`PooledAttention`.
        drop_path_rate (float): How often a branch is left out for an image in training.
        cooling (bool): Followed by CrossFormer++'s activation cooling layer, see :meth:`cool`.
    """

    def __init__(self, dims: int, attn: nn.Module, drop_path_rate: float, cooling: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dims)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dims)
        self.mlp = MLP(dims, 4 * dims)
        self.drop_path_rate = drop_path_rate
        self.cooling = cooling
        if cooling:
            self.ex_conv = nn.Conv2d(dims, dims, 3, padding=1, groups=dims)
            self.ex_ln = nn.LayerNorm(dims)

    def forward(self, tokens: Tensor, groups: Groups, relative: tuple[Tensor, Tensor] | None) -> Tensor:
        """Tokens in the order of ``groups``, (T, C), and what :func:`relative_positions` says of the largest group.

        Without gradients the result is in the place of the tokens.
        """
        sizes, kinds = zip(*groups.pieces(self._tokens_at_a_time(tokens)))
        scales = [None] * len(sizes)
        if self.training and self.drop_path_rate:
            scales = groups.drop_path(self.drop_path_rate).split(sizes)
        biases = self._biases(groups, relative)
        done = []
        for x, kind, scale in zip(tokens.split(sizes), kinds, scales):
            _, rows, columns = groups.shapes[kind]
            x = _add(x, self.attn(self.norm1(x), rows, columns, biases[kind]), scale)
            done.append(_add(x, self.mlp(self.norm2(x)), scale))
        if not torch.is_grad_enabled():
            return tokens
        return torch.cat(done) if len(done) > 1 else done[0]

    def cool(self, x: Tensor) -> Tensor:
        """A depthwise convolution and a norm without shortcut: the residual stream stops growing. (B, H, W, C)."""
        return self.ex_ln(self.ex_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))

    def _tokens_at_a_time(self, tokens: Tensor) -> int | None:
        """As many as the cache of a CPU has room for; None: all, for other devices."""
        if tokens.device.type != 'cpu' or torch.compiler.is_compiling():
            return None
        return CACHED_FLOATS * torch.get_num_threads() // (4 * tokens.shape[1])

    def _biases(self, groups: Groups, relative: tuple[Tensor, Tensor] | None) -> list[Tensor] | list[None]:
        """(heads, N, N) by shape of group: parts of the one for the largest."""
        if self.attn.pos is None:
            return [None] * len(groups.shapes)
        differences, pairs = relative
        bias = self.attn.pos(differences).t().contiguous().index_select(1, pairs.flatten())
        bias = bias.view(-1, *groups.largest, *groups.largest)
        return [bias[:, :rows, :columns, :rows, :columns].reshape(len(bias), rows * columns, -1)
                for _, rows, columns in groups.shapes]


def _add(x: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
    """x + scale branch, in memory that is there already if nothing else reads it: new memory is slow on a CPU."""
    if scale is not None:
        return (torch.addcmul if torch.is_grad_enabled() else Tensor.addcmul_)(x, branch, scale.to(branch.dtype))
    if not torch.is_grad_enabled():
        return x.add_(branch)
    return branch.add_(x) if branch.dtype == x.dtype else x + branch


class Stage(nn.Module):
    """Blocks on maps of one stride, short and long distance in turn.

    Args:
        dims (int): Channels.
        drop_path_rates (Sequence[float]): Of each block.
        group_size (int): G.
        interval (int): Of the members of a long distance group.
        attention (str): One of ``ATTENTIONS``.
        position (str): One of ``POSITIONS``.
        cooling (bool): Every third block but the last has a cooling layer.
        with_cp (bool): Computes blocks again in the backward pass instead of keeping their activations.
    """

    def __init__(self, dims: int, drop_path_rates: Sequence[float], group_size: int, interval: int, attention: str,
                 position: str, cooling: bool, with_cp: bool) -> None:
        super().__init__()
        self.group_size, self.interval, self.attention, self.with_cp = group_size, interval, attention, with_cp
        self.table = position == 'relative'
        self.blocks = nn.ModuleList()
        for index, rate in enumerate(drop_path_rates):
            heads = dims // HEAD_DIMS
            if attention == 'pvt':
                attn = PooledAttention(dims, heads, interval)
            elif position.startswith('dynamic'):
                attn = Attention(dims, heads, DynamicPosition(dims, heads, position == 'dynamic-residual'))
            else:
                attn = Attention(dims, heads, RelativePosition(group_size, heads) if self.table else None)
            last = index == len(drop_path_rates) - 1
            self.blocks.append(Block(dims, attn, rate, cooling and index % 3 == 2 and not last))
        for name, tensor in zip(('differences', 'pairs'), relative_positions(group_size, group_size)):
            self.register_buffer(name, tensor, persistent=False)
        self.downsample = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        tokens, present, shape = x.reshape(-1, x.shape[-1]), None, x.shape
        pattern = [(groups, self._relative(groups)) for groups in self._groups(*shape[:3], x.device)]
        for index, block in enumerate(self.blocks):
            groups, relative = pattern[index % 2]
            tokens, present = groups.arrange(tokens, present), groups
            if self.with_cp and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, groups, relative, use_reentrant=False)
            else:
                tokens = block(tokens, groups, relative)
            if block.cooling:
                tokens = block.cool(tokens.index_select(0, groups.inverse).view(shape)).reshape(tokens.shape)
                present = None
        return (tokens if present is None else tokens.index_select(0, present.inverse)).view(shape)

    def _groups(self, images: int, height: int, width: int, device) -> tuple[Groups, Groups]:
        """Of the blocks in even and in odd places. A map as small as a group is one, or in older code squares."""
        size, spans_map = self.group_size, self.attention == 'short-long-map'
        if self.attention == 'pvt' or min(height, width) <= size and not self.table:
            size = (min if spans_map else max)(height, width)

        def make(size: int, interval: int, lead: int) -> Groups:
            return Groups(images, *(axis_groups(length, size, interval, lead, device) for length in (height, width)))

        near = make(size, 1, 0)
        if min(height, width) <= size or self.attention == 'short':
            return near, near
        if self.attention == 'swin':
            return near, make(size, 1, size // 2)
        if spans_map:
            return near, make(max(height, width), self.interval, 0)
        return near, near if self.interval == 1 else make(size, self.interval, 0)

    def _relative(self, groups: Groups) -> tuple[Tensor, Tensor] | None:
        """Relative positions within the largest group, if wanted; those of a full group are at hand."""
        if self.blocks[0].attn.pos is None:
            return None
        if groups.largest == (self.group_size, self.group_size):
            return self.differences, self.pairs
        return relative_positions(*groups.largest, self.differences.device)


def cross_scale_convs(in_dims: int, out_dims: int, sizes: Sequence[int], stride: int) -> nn.ModuleList:
    """Convolutions around the same centres; each has half the channels of the next smaller, the last two alike."""
    convs = nn.ModuleList(
        nn.Conv2d(in_dims, out_dims // 2**min(index + 1, len(sizes) - 1), size, stride, (size - stride) // 2)
        for index, size in enumerate(sizes))
    return convs.to(memory_format=torch.channels_last)  # As the maps are: weights need not be laid out anew each time.


def conv_of_blocks(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """``conv(x)``, its stride turned into channels: on a CPU large kernels on 3 channels have very slow gradients."""
    stride, lead = conv.stride[0], -conv.padding[0] % conv.stride[0]
    trail = -(conv.kernel_size[0] + lead) % stride
    weight = F.pixel_unshuffle(F.pad(conv.weight, (lead, trail, lead, trail)), stride)
    height, width = x.shape[-2:]
    blocks = F.pixel_unshuffle(F.pad(x, (0, -width % stride, 0, -height % stride)), stride)
    padding = (conv.padding[0] + lead) // stride
    y = F.conv2d(blocks.contiguous(memory_format=torch.channels_last), weight, conv.bias, padding=padding)
    return y[..., :height // stride, :width // stride]


class PatchEmbed(nn.Module):
    """Cross-scale embedding of the image at stride 4."""

    def __init__(self, in_channels: int, dims: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.projs = cross_scale_convs(in_channels, dims, sizes, 4)
        self.norm = nn.LayerNorm(dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H // 4, W // 4, C); a side below 4 pixels counts as 4."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, max(4 - width, 0), 0, max(4 - height, 0)))
        trains = torch.is_grad_enabled() and self.norm.weight.requires_grad and not x.is_cuda
        maps = [conv_of_blocks(conv, x) if trains and conv.kernel_size[0] > 8 else conv(x) for conv in self.projs]
        return self.norm(torch.cat(maps, 1).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Cross-scale embedding between two stages: half the size, twice the channels."""

    def __init__(self, dims: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dims)
        self.reductions = cross_scale_convs(dims, 2 * dims, sizes, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H / 2, W / 2, 2 C), rounded up."""
        height, width = x.shape[1:3]
        x = F.pad(self.norm(x), (0, 0, 0, width % 2, 0, height % 2)).permute(0, 3, 1, 2)
        return torch.cat([conv(x) for conv in self.reductions], 1).permute(0, 2, 3, 1)


@MODELS.register_module()
class CrossFormer(BaseModule):
    """CrossFormer (arXiv 2108.00154) and CrossFormer++ (2303.06908), with the parameter names of their authors.

    Takes images of any size. Sizes that its authors' code accepts give the same answer: the first layer rounds down to
    multiples of 4, and a map with a side of at most a group's size is one group. Other sizes are rounded up at the
    later layers. Weights in the authors' format load, also out of a whole detector's checkpoint.

    Args:
        arch (str | dict): 'tiny', 'small', 'base', 'large', 'plus-small', 'plus-base', 'plus-large', 'plus-huge', or a
            dict of ``embed_dims``, a multiple of 32, ``depths`` and, if wanted, the arguments below.
        group_sizes (Sequence[int], optional): Side G of the groups of each stage; 7 unless the arch says otherwise.
        intervals (Sequence[int], optional): I: members of a long distance group of each stage lie so far apart;
            8, 4, 2, 1 unless the arch says otherwise.
        cooling (bool, optional): Activation cooling layers, by default in the plus archs.
        drop_path_rate (float, optional): Stochastic depth of the last block; it grows linearly from 0 at the first.
        patch_sizes (Sequence[int]): Kernels of the first layer. ``(4, )`` is the single-scale ablation, together with
        merge_sizes (Sequence[int]): Kernels of the layers between stages, there ``(2, )``.
        attention (str): 'short-long'; 'short' has no long distance blocks. 'swin' shifts the groups of every other
            block, 'pvt' lets all tokens attend to a pooled map, with the intervals as its strides. 'short-long-map':
            long distance groups span the whole map, as in the code that its authors' detectors are published with.
        position (str): 'dynamic' bias, 'dynamic-residual', a table for 'relative' positions, 'absolute' embeddings
            added at the beginning, or 'none'. The first three do not go with 'pvt', 'relative' not with
            'short-long-map'.
        pretrain_img_size (int): Side of the images for which absolute positions are kept; others are interpolated.
        in_channels (int): Of the image.
        out_indices (Sequence[int]): Stages whose maps are returned; later ones are not built.
        final_norm (bool): Normalises the last map, as a classifier needs it. Detectors of the authors do without.
        frozen_stages (int): 0 freezes the first layer, N the first N stages too; -1 nothing.
        with_cp (bool): Computes blocks again in the backward pass to save memory.
        init_cfg (dict, optional): The authors' initialisation by default.

    Raises:
        InputError: An argument has a value that is not listed, or does not fit the number of stages.
    """

    def __init__(self,
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
                 init_cfg: dict | list | None = None) -> None:
        super().__init__(init_cfg or [dict(type='TruncNormal', layer='Linear', std=.02, bias=0.),
                                      dict(type='Constant', layer='LayerNorm', val=1., bias=0.)])
        given = dict(group_sizes=group_sizes, intervals=intervals, cooling=cooling, drop_path_rate=drop_path_rate)
        settings = {**DEFAULTS, **(_choose('arch', arch, ARCHS) if isinstance(arch, str) else arch),
                    **{name: value for name, value in given.items() if value is not None}}
        _check(settings, attention, position, out_indices, frozen_stages)
        depths, dims = settings['depths'], settings['embed_dims']
        self.out_indices, self.frozen_stages = tuple(out_indices), frozen_stages
        self.patch_embed = PatchEmbed(in_channels, dims, patch_sizes)
        if position == 'absolute':
            self.absolute_pos_embed = nn.Parameter(
                trunc_normal_(torch.empty(1, (pretrain_img_size // 4)**2, dims), std=.02))
        rates = torch.linspace(0, settings['drop_path_rate'], sum(depths), device='cpu').split(list(depths))
        self.layers = ModuleList()
        for index in range(max(out_indices) + 1):
            stage = Stage(dims * 2**index, rates[index].tolist(), settings['group_sizes'][index],
                          settings['intervals'][index], attention, position, settings['cooling'], with_cp)
            if index < max(out_indices):
                stage.downsample = PatchMerging(dims * 2**index, merge_sizes)
            self.layers.append(stage)
        if final_norm:
            self.norm = nn.LayerNorm(dims * 2**max(out_indices))
        self.final_norm, self.absolute = final_norm, position == 'absolute'
        self.register_load_state_dict_pre_hook(_take_backbone)
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, C, H / stride, W / stride) of ``out_indices`` from images (B, 3, H, W), channels last in memory."""
        x = self.patch_embed(x)
        if self.absolute:
            x = x + self._positions(*x.shape[1:3])
        maps = []
        for index, stage in enumerate(self.layers):
            x = stage(x)
            if index in self.out_indices:
                last = self.final_norm and stage.downsample is None
                maps.append((self.norm(x) if last else x).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(x)
        return tuple(maps)

    def train(self, mode: bool = True) -> 'CrossFormer':
        """As usual, but what is frozen stays in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def _positions(self, height: int, width: int) -> Tensor:
        """The absolute positions of a map, (1, H, W, C)."""
        side = round(self.absolute_pos_embed.shape[1]**0.5)
        table = self.absolute_pos_embed.unflatten(1, (side, side)).permute(0, 3, 1, 2)
        return F.interpolate(table, (height, width), mode='bicubic').permute(0, 2, 3, 1)

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        if self.absolute:
            self.absolute_pos_embed.requires_grad_(False)
        for module in [self.patch_embed, *self.layers[:self.frozen_stages]]:
            module.eval().requires_grad_(False)


def _take_backbone(module: CrossFormer, state_dict: dict, prefix: str, *args) -> None:
    """Also leaves out the classifier's norm, unless it is wanted, and the tables of older checkpoints."""
    take_backbone(module, state_dict, prefix)
    if not prefix:
        stems = () if module.final_norm else ('norm.', )
        for key in [key for key in state_dict if key.startswith(stems) or key.endswith(TABLES)]:
            del state_dict[key]


def _choose(name: str, value: str, known: Sequence[str] | dict):
    """``value``, or what a dict has for it."""
    if value not in known:
        raise InputError(f'CrossFormer: {name}={value!r} is not known; take one of {", ".join(known)}')
    return known[value] if isinstance(known, dict) else value


def _check(settings: dict, attention: str, position: str, out_indices: Sequence[int], frozen_stages: int) -> None:
    _choose('attention', attention, ATTENTIONS)
    _choose('position', position, POSITIONS)
    wrong = settings.keys() ^ {'embed_dims', 'depths', *DEFAULTS}
    if wrong:
        raise InputError('CrossFormer: a dict as arch has embed_dims and depths and may have '
                         f'{", ".join(DEFAULTS)}; wrong or missing: {", ".join(wrong)}')
    count = len(settings['depths'])
    for name in ('group_sizes', 'intervals'):
        if len(settings[name]) != count or min(settings[name]) < 1:
            raise InputError(f'CrossFormer: {name}={settings[name]}: give {count} positive numbers, one a stage')
    if settings['embed_dims'] % HEAD_DIMS:
        raise InputError(f"CrossFormer: embed_dims={settings['embed_dims']}: heads have {HEAD_DIMS} channels, so give "
                         'a multiple of that')
    if not out_indices or not 0 <= min(out_indices) <= max(out_indices) < count or frozen_stages > count:
        raise InputError(f'CrossFormer: out_indices={tuple(out_indices)}, frozen_stages={frozen_stages}: there are '
                         f'{count} stages')
    if attention == 'pvt' and position not in ('absolute', 'none') or (
            attention == 'short-long-map' and position == 'relative'):
        raise InputError(f'CrossFormer: position={position!r} cannot be had with attention={attention!r}, whose groups '
                         "grow with the image; take 'absolute' or 'none'")

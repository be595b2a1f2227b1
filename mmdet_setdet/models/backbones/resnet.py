"""mmdet's ResNet with what DETR needs: frozen batch norm that is folded away, and the authors' DC5."""

import torch
from mmdet.models.backbones import ResNet as MMDetResNet
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...registry import MODELS
from ..layers import FrozenBatchNorm2d
from ..layers.fast import conv_norm
from .pretrained import PretrainedMixin

FROZEN_BN = dict(type='mmdet_setdet.FrozenBN')


class _FrozenNormBlock:
    """A residual block of mmdet, each of whose frozen norms is computed together with the convolution before it."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H', W')."""
        if self.with_cp and x.requires_grad:
            x = checkpoint(self._sum, x, use_reentrant=False)
        else:
            x = self._sum(x)
        return self.relu(x)

    def _sum(self, x: Tensor) -> Tensor:
        branch = self._branch(x)
        branch += self._shortcut(x)
        return branch

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.downsample is None:
            return x
        *pooling, conv, norm = self.downsample  # mmdet pools first with ``avg_down``
        for pool in pooling:
            x = pool(x)
        return conv_norm(conv, norm, x)


class FrozenNormBasicBlock(_FrozenNormBlock, BasicBlock):
    """The block of ResNet-18 and 34."""

    def _branch(self, x: Tensor) -> Tensor:
        x = self.relu(conv_norm(self.conv1, self.norm1, x))
        return conv_norm(self.conv2, self.norm2, x)


class FrozenNormBottleneck(_FrozenNormBlock, Bottleneck):
    """The block of ResNet-50, 101 and 152."""

    def _branch(self, x: Tensor) -> Tensor:
        x = self.relu(conv_norm(self.conv1, self.norm1, x))
        x = self.relu(conv_norm(self.conv2, self.norm2, x))
        return conv_norm(self.conv3, self.norm3, x)


FROZEN_NORM_BLOCKS = {BasicBlock: FrozenNormBasicBlock, Bottleneck: FrozenNormBottleneck}


@MODELS.register_module()
class ResNet(PretrainedMixin, MMDetResNet):
    """ResNet 18 to 152 (arXiv 1512.03385): mmdet's, with its arguments.

    Loads weights in the format of torchvision and of mmdet. Those of a whole detector load with the prefix of its
    backbone, see :func:`load_pretrained`.

    DC5 (DETR, section 4) is ``strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), contract_dilation=True``.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        contract_dilation (bool): The first block of a dilated stage keeps the dilation of the stage before, as in
            torchvision and therefore in the code of DETR's authors. False as in mmdet: all blocks are dilated.
        channels_last (bool, optional): Memory layout of the feature maps. None: channels-last on a CPU, where it was
            measured to be faster, and for half precision on a GPU.
        norm_cfg (dict): Frozen batch norm by default. Training from scratch requires ``dict(type='BN')`` and
            ``norm_eval=False``.
        zero_init_residual (bool): False by default: a frozen batch norm that starts at zero stays there.
        **kwargs: As for mmdet's ``ResNet``.
    """

    def __init__(
        self,
        depth: int,
        *args,
        contract_dilation: bool = False,
        channels_last: bool | None = None,
        norm_cfg: dict = FROZEN_BN,
        zero_init_residual: bool = False,
        **kwargs,
    ) -> None:
        self.contract_dilation = contract_dilation
        self.channels_last = channels_last
        super().__init__(
            depth, *args, norm_cfg=norm_cfg, zero_init_residual=zero_init_residual, **kwargs
        )

    def make_res_layer(self, **kwargs) -> nn.Sequential:
        """Make a stage as mmdet does, its first block less dilated if ``contract_dilation``."""
        if self._has_frozen_norms and kwargs['plugins'] is None:
            kwargs['block'] = FROZEN_NORM_BLOCKS[kwargs['block']]
        layer = super().make_res_layer(**kwargs)
        dilation = kwargs['dilation']
        if self.contract_dilation and dilation > 1:
            for conv in layer[0].modules():
                if getattr(conv, 'dilation', (1, 1)) != (1, 1):
                    conv.dilation = (dilation // 2, dilation // 2)
                    conv.padding = conv.dilation
        return layer

    def init_weights(self) -> None:
        """Initialize by ``init_cfg``; scale random branches that end in frozen batch norms.

        Without a norm that follows the data, each of N residual blocks would add a branch as large as its input, and
        the output would grow by 2^(N / 2). With a scale of N^(-1/2) it does not.
        """
        super().init_weights()
        if self.is_pretrained:
            return
        blocks = [block for name in self.res_layers for block in getattr(self, name)]
        for block in blocks:
            last_norm = block.norm3 if isinstance(block, Bottleneck) else block.norm2
            if isinstance(last_norm, FrozenBatchNorm2d):
                last_norm.weight.fill_(len(blocks) ** -0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) -> feature maps of ``out_indices``, each (B, C, H / stride, W / stride)."""
        if self._is_channels_last(x):
            x = x.contiguous(memory_format=torch.channels_last)
        if self.deep_stem or not self._has_frozen_norms:
            return super().forward(x)
        x = self.maxpool(self.relu(conv_norm(self.conv1, self.norm1, x)))
        maps = []
        for index, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if index in self.out_indices:
                maps.append(x)
        return tuple(maps)

    @property
    def _has_frozen_norms(self) -> bool:
        return self.norm_cfg['type'] == FROZEN_BN['type']

    def _is_channels_last(self, x: Tensor) -> bool:
        if self.channels_last is not None:
            return self.channels_last
        if not x.is_cuda:
            return True
        return torch.is_autocast_enabled('cuda') or x.dtype != torch.float32

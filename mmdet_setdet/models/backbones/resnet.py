"""mmdet's ResNet with what DETR needs: frozen batch norm that is folded away, and the authors' DC5."""
from itertools import pairwise

import torch
from mmdet.models.backbones import ResNet as MMDetResNet
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import FoldedConv2d, FrozenBatchNorm2d
from .loading import take_backbone

FROZEN_BN = dict(type='mmdet_setdet.FrozenBN')


@MODELS.register_module()
class ResNet(MMDetResNet):
    """ResNet 18 to 152 (arXiv 1512.03385) on mmdet's, whose arguments it takes.

    Weights in torchvision's, mmdet's and DETR's authors' format load, also out of a whole detector's checkpoint.

    DC5 (DETR, section 4) is ``strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), contract_dilation=True``.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        contract_dilation (bool): The first block of a dilated stage keeps the dilation of the stage before, as
            torchvision and with it the authors of DETR do. False is mmdet's meaning: it dilates all blocks.
        channels_last (bool, optional): Memory layout of the feature maps. None: channels-last on a CPU, where it was
            measured to be faster, and for half precision on a GPU.
        norm_cfg (dict): Frozen batch norm by default. Training from scratch wants ``dict(type='BN')`` and
            ``norm_eval=False``.
        zero_init_residual (bool): False by default: a frozen batch norm that starts at zero stays there.
        **kwargs: As mmdet's ``ResNet``.
    """

    def __init__(self,
                 depth: int,
                 *args,
                 contract_dilation: bool = False,
                 channels_last: bool | None = None,
                 norm_cfg: dict = FROZEN_BN,
                 zero_init_residual: bool = False,
                 **kwargs) -> None:
        self.contract_dilation = contract_dilation
        self.channels_last = channels_last
        if norm_cfg['type'] == FROZEN_BN['type']:
            kwargs.setdefault('conv_cfg', dict(type='mmdet_setdet.FoldedConv2d'))
        super().__init__(depth, *args, norm_cfg=norm_cfg, zero_init_residual=zero_init_residual, **kwargs)
        for parent in self.modules():
            for conv, norm in pairwise(parent.children()):
                if isinstance(conv, FoldedConv2d) and isinstance(norm, FrozenBatchNorm2d):
                    conv.fold(norm)
        self.register_load_state_dict_pre_hook(take_backbone)

    def make_res_layer(self, **kwargs) -> nn.Sequential:
        """mmdet's stage, its first block less dilated if ``contract_dilation``."""
        layer = super().make_res_layer(**kwargs)
        if self.contract_dilation and kwargs['dilation'] > 1:
            for conv in layer[0].modules():
                if getattr(conv, 'dilation', (1, 1)) != (1, 1):
                    conv.dilation = conv.padding = (kwargs['dilation'] // 2, ) * 2
        return layer

    def init_weights(self) -> None:
        """By ``init_cfg``. Random weights behind frozen batch norms are scaled so that the sum over blocks stays tame.

        Without a norm that follows the data, each of N residual blocks would add a branch as large as its input, and
        the output would grow by 2^(N / 2).
        """
        super().init_weights()
        configs = self.init_cfg if isinstance(self.init_cfg, list) else [self.init_cfg]
        if any(config['type'] == 'Pretrained' for config in configs if config):
            return
        blocks = [block for name in self.res_layers for block in getattr(self, name)]
        for block in blocks:
            last = getattr(block, 'norm3', None) or block.norm2
            if isinstance(last, FrozenBatchNorm2d):
                last.weight.fill_(len(blocks)**-0.5)

    def forward(self, x: Tensor):
        """Feature maps of ``out_indices`` from images (B, 3, H, W)."""
        channels_last = self.channels_last
        if channels_last is None:
            channels_last = not x.is_cuda or torch.is_autocast_enabled('cuda') or x.dtype != torch.float32
        return super().forward(x.contiguous(memory_format=torch.channels_last) if channels_last else x)

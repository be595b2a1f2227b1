"""Fast paths: computations that are quicker or leaner than plain torch, each beside the plain torch that it equals.

A layer calls a function of this package and need not know which way is taken. Every function has a reference of a few
lines, named ``plain_...``, in the same file; the tests hold outputs and gradients of both equal.

    =====================  =========================================  =========================================
    function               plain torch                                fast path
    =====================  =========================================  =========================================
    linear, mlp            F.linear, F.gelu                           oneDNN's products; recompute the GELU
    attention,             F.scaled_dot_product_attention             batched products (small or in bfloat16 on a CPU,
    biased_attention                                                  gradient of a bias)
    conv_norm              norm(conv(x))                              frozen norm folded into the weights
    patch_conv             conv(x)                                    stride turned into channels
    sample_levels          mmcv's F.grid_sample                       mmcv's operator, or F.embedding_bag
    add_branch             x + scale * branch                         sum in the memory of the branch
    map_chunks             function(all tokens)                       chunks that fit into a CPU's cache
    =====================  =========================================  =========================================

``MMDET_SETDET_FAST=0`` in the environment turns all fast paths off; :func:`use_fast_paths` does so for a while.
"""

from .attention import attention, biased_attention
from .chunks import add_branch, map_chunks, tokens_in_cache
from .conv_on_blocks import patch_conv
from .deformable_sampling import sample_levels
from .frozen_conv import conv_norm
from .onednn_linear import Linear, linear, mlp, use_onednn
from .switch import enabled, use_fast_paths

__all__ = [
    'Linear',
    'add_branch',
    'attention',
    'biased_attention',
    'conv_norm',
    'enabled',
    'linear',
    'map_chunks',
    'mlp',
    'patch_conv',
    'sample_levels',
    'tokens_in_cache',
    'use_fast_paths',
    'use_onednn',
]

"""What mmcv's compiled operators compute, in plain torch, with the demands that their CUDA kernels have.

Each takes the arguments of the function of that name in ``mmcv._ext``, as tensors on the CPU.
"""

import mmcv._ext
import torch
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from torch import Tensor
from torch.nn import functional as F

nms_of_cpu = mmcv._ext.nms
FLOATS = {torch.float32, torch.float64}
FLOATS_AND_HALF = {*FLOATS, torch.float16}


def demand(kernel: str, dtypes: set[torch.dtype], *tensors: Tensor) -> None:
    """Fail as the kernel would unless all tensors are contiguous and the first is of a type that it knows."""
    if tensors[0].dtype not in dtypes:
        raise RuntimeError(f'"{kernel}" not implemented for {tensors[0].dtype}')
    for tensor in tensors:
        assert tensor.is_contiguous(), f'{kernel} takes contiguous tensors'


def nms(boxes: Tensor, scores: Tensor, **options) -> Tensor:
    demand('nms', {torch.float32}, boxes, scores)
    return nms_of_cpu(boxes, scores, **options)


def sigmoid_focal_loss_forward(
    logits: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    demand('sigmoid_focal_loss_forward', FLOATS_AND_HALF, logits, target, output)
    output.copy_(_focal_loss(logits, target, gamma, alpha))


def sigmoid_focal_loss_backward(
    logits: Tensor, target: Tensor, weight: Tensor, grad: Tensor, gamma: float, alpha: float
) -> None:
    demand('sigmoid_focal_loss_backward', FLOATS_AND_HALF, logits, target, grad)
    with torch.enable_grad():
        logits = logits.detach().requires_grad_()
        total = _focal_loss(logits, target, gamma, alpha).sum()
        grad.copy_(*torch.autograd.grad(total, logits))


def _focal_loss(logits: Tensor, target: Tensor, gamma: float, alpha: float) -> Tensor:
    num_classes = logits.shape[1]
    one_hot = F.one_hot(target, num_classes + 1)[:, :num_classes]
    return py_sigmoid_focal_loss(logits, one_hot, gamma=gamma, alpha=alpha, reduction='none')


def ms_deform_attn_forward(
    value: Tensor,
    shapes: Tensor,
    starts: Tensor,
    locations: Tensor,
    weights: Tensor,
    im2col_step: int,
) -> Tensor:
    demand('ms_deform_attn_forward', FLOATS, value, shapes, starts, locations, weights)
    at_a_time = min(len(value), im2col_step)
    assert len(value) % at_a_time == 0, 'ms_deform_attn_forward: batch is no multiple of the step'
    sizes = [tuple(shape) for shape in shapes.tolist()]
    return multi_scale_deformable_attn_pytorch(value, sizes, locations, weights)


def ms_deform_attn_backward(
    value: Tensor,
    shapes: Tensor,
    starts: Tensor,
    locations: Tensor,
    weights: Tensor,
    grad: Tensor,
    grad_value: Tensor,
    grad_locations: Tensor,
    grad_weights: Tensor,
    im2col_step: int,
) -> None:
    demand('ms_deform_attn_backward', FLOATS, value, shapes, starts, locations, weights, grad)
    with torch.enable_grad():
        inputs = [tensor.detach().requires_grad_() for tensor in (value, locations, weights)]
        value, locations, weights = inputs
        output = ms_deform_attn_forward(value, shapes, starts, locations, weights, im2col_step)
        grads = torch.autograd.grad(output, inputs, grad)
    for target, source in zip((grad_value, grad_locations, grad_weights), grads):
        target.copy_(source)


KERNELS = {
    function.__name__: function
    for function in (
        nms,
        sigmoid_focal_loss_forward,
        sigmoid_focal_loss_backward,
        ms_deform_attn_forward,
        ms_deform_attn_backward,
    )
}

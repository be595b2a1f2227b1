"""Heads of regions of interest: mmdet's, with denoising."""

from .denoising_roi_head import DenoisingRoIHead

__all__ = ['DenoisingRoIHead']

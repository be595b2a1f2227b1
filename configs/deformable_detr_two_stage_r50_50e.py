# Queries start from boxes that the encoder proposes (Deformable DETR, appendix A.4), and are refined.
_base_ = 'deformable_detr_refine_r50_50e.py'

model = dict(as_two_stage=True)

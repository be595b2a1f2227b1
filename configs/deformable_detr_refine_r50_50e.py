# Each decoder layer refines the box of the layer before (Deformable DETR, appendix A.4).
_base_ = 'deformable_detr_r50_50e.py'

model = dict(with_box_refine=True)

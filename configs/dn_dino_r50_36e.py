# DN-DETR's repository on its way to DINO: DN-DAB-Deformable-DETR in two stages with mixed query selection, look forward
# twice and contrastive denoising (its dn_dab_dino_deformable_detr). Of its command only the switches are known; the
# numbers are DINO's.
_base_ = [
    '_base_/models/dn_deformable_detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_36e.py',
    '_base_/default_runtime.py',
]

model = dict(
    num_queries=900,
    as_two_stage=True,
    learn_content=True,
    denoising=dict(contrastive=True, num_queries=200, label_noise_scale=0.5, box_noise_scale=1.0),
    decoder=dict(look_forward_twice=True),
    test_cfg=dict(max_per_img=300))

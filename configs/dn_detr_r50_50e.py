_base_ = 'dab_detr_r50_50e.py'

model = dict(denoising=dict(num_groups=5, label_noise_scale=0.2, box_noise_scale=0.4))

# Mix-in for model.roi_head: noised gts are proposals, with DN-DETR's number of groups and its noise on boxes.
roi_denoising = dict(
    type='DenoisingRoIHead', denoising=dict(num_groups=5, box_noise_scale=0.4))

# Mix-in for model.denoising: groups and noise of DN-DETR (arXiv 2203.01305), as in its authors' commands.
published_denoising = dict(num_groups=5, label_noise_scale=0.2, box_noise_scale=0.4)

# Mix-in: the mean and standard deviation of ImageNet's RGB pixels, as torchvision's weights expect them.
imagenet_pixels = dict(
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True)

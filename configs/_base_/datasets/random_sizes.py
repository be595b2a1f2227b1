# Mix-in for training pipelines: DETR's scale and crop augmentation (arXiv 2005.12872, section 4). Half of the images
# are resized to a shorter side of 480 to 800 pixels; the other half are resized, cropped and then resized like that.
random_resize = dict(
    type='RandomChoiceResize',
    scales=[(side, 1333) for side in range(480, 801, 32)],
    keep_ratio=True)
random_crop = dict(
    type='RandomCrop',
    crop_type='absolute_range',
    crop_size=(384, 600),
    allow_negative_crop=True)
# DETR's authors do not limit the longer side before the crop; 4200 pixels are as good as no limit.
resize_before_crop = dict(
    type='RandomChoiceResize',
    scales=[(side, 4200) for side in (400, 500, 600)],
    keep_ratio=True)
resize_or_crop = dict(
    type='RandomChoice',
    transforms=[[random_resize], [resize_before_crop, random_crop, random_resize]])

# As later detectors, Swin's among them, have it: the longer side has at most 1333 pixels there too.
limited_resize_before_crop = dict(
    type='RandomChoiceResize',
    scales=[(side, 1333) for side in (400, 500, 600)],
    keep_ratio=True)
resize_or_crop_to_1333 = dict(
    type='RandomChoice',
    transforms=[[random_resize], [limited_resize_before_crop, random_crop, random_resize]])

# The first 16 images of COCO's training set, made small: what a new detector should manage before anything else is
# asked of it. For training, and the same images with their objects for evaluation.
_base_ = 'coco_small_images.py'

resize = dict(type='Resize', scale=(256, 256), keep_ratio=True)
coco16_train = dict(
    _base_.coco_train,
    _delete_=True,
    indices=16,
    pipeline=[_base_.load, _base_.annotations, resize, _base_.pack])
coco16_test = dict(
    coco16_train,
    test_mode=True,
    pipeline=[_base_.load, resize, *_base_.annotations_and_pack])

# mmdet's Mask2Former for instances with ResNet-50: the model of its config, without the data and the schedule. An
# import statement would make this a config of mmengine's other kind, which cannot be mixed with this one.
model = __import__('mmengine.hub').hub.get_config(
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py').model

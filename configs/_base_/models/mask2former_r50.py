# mmdet's Mask2Former for instances with ResNet-50: the model of its config, without the data and the schedule.
import importlib

hub = importlib.import_module('mmengine.hub')  # by `import` this would be a config of mmengine's other kind
model = hub.get_config('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py').model

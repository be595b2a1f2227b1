# Mix-in: where COCO lies. The environment variable SETDET_COCO moves it for every config.
coco_root = '{{$SETDET_COCO:data/coco/}}'
coco_val_file = coco_root + '/annotations/instances_val2017.json'

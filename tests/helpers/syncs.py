"""How often the host waits for the device, by family. A larger number needs a reason."""

# How often the host waits in forward and loss, and for the results of three images; in backward it never does. Of a
# DETR it is once for the costs of each matching, and for constants that mmdet's losses copy blockingly: an epsilon per
# IoU, the class weights per softmax loss. OTA waits for the sizes of its problems, for whether their costs are finite
# and for the number of assigned predictions; mmdet's NMS waits for everything that it filters.
USUAL_SYNCS = (3, 0)
SYNCS = {
    'dab-detr': (2, 0),
    'dn-detr-one-to-many': (6, 0),
    'dn-deformable-by-transport': (6, 0),
    'dn-detr-hungarian-to-many': (5, 0),
    'vanilla': (5, 0),
    'ota': (5, 27),
    'ota-nearest': (6, 27),
    'simota': (5, 27),
    'classifier': (0, 1),
}

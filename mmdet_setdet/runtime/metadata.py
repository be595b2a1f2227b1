"""What an exported model says about itself: it is written into the file, so that a picture is all that a user needs."""

import json
from dataclasses import asdict, dataclass, field, fields

KEY = 'mmdet_setdet'  # of the metadata in an ONNX file


@dataclass
class ModelInfo:
    """How to prepare images for an exported model and how to read its outputs.

    Attributes:
        config (str): Name of the config that the model was built from.
        version (str): Version of mmdet_setdet that exported it.
        classes (list[str]): Names of the K classes; the label of a box is an index into them.
        mean (list[float]): Subtracted from the channels of a pixel, values 0 ... 255.
        std (list[float]): The channels are divided by it afterwards.
        rgb (bool): Whether the channels are red, green, blue; otherwise blue, green, red.
        resize (str): The rule of the resized image's size: 'detr', the authors' (:func:`shorter_side_size`), 'fit',
            mmdet's (:func:`fitting_size`), or 'crop', the classifier's: the shorter side becomes ``scale[0]``, and the
            middle ``scale[1]`` x ``scale[1]`` pixels are kept.
        scale (list[int]): Limits of the longer and the shorter side of the resized image in pixels, in any order.
        filter (str): How pixels are interpolated: 'bilinear', 'bicubic' or 'cv2', see :func:`resize`.
        size_divisor (int): Batches are padded to a multiple of it, with zeros after normalisation.
        task (str): 'detection' or 'classification'.
        outputs (str): 'results' for ``boxes`` (B, N, 4) in pixels of the model's input, ``scores`` (B, N) and
            ``labels`` (B, N); 'raw' for what the heads predict.
        nms (dict | None): Of a dense head, whose overlapping boxes the runtime removes: ``score_thr``, ``nms_pre`` per
            level, ``one_per_cell`` (not more of a level than it has predictions), ``drops_empty`` (boxes beside
            the image), ``iou_threshold``, ``max_per_img``, ``strides`` and ``priors_per_cell``. None for set
            prediction.
        max_overlap (float | None): Of set prediction: results that overlap a better one of their class by a larger IoU
            are left out; None leaves all.
        fixed (dict[str, int]): The sizes that cannot change: ``batch``, ``height`` and ``width``.
        precision (str): 'float32', 'float16' or 'int8'.
    """

    config: str
    version: str
    classes: list[str]
    mean: list[float]
    std: list[float]
    rgb: bool
    resize: str
    scale: list[int]
    filter: str = 'cv2'
    size_divisor: int = 1
    task: str = 'detection'
    outputs: str = 'results'
    nms: dict | None = None
    max_overlap: float | None = None
    fixed: dict[str, int] = field(default_factory=dict)
    precision: str = 'float32'

    def to_json(self) -> str:
        """Return all fields as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> 'ModelInfo':
        """Read what :meth:`to_json` wrote; fields of later versions are left out."""
        values = json.loads(text)
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

#!/usr/bin/env python
"""Test a checkpoint or an exported detector: ``tools/test.py CONFIG CKPT --eval bbox``.

Several processes: ``tools/dist_test.sh``.
"""

from collections.abc import Sequence

import mmdet_setdet  # noqa: F401
from mmdet_setdet.engine.command_line import build_runner, load_config, make_parser, run
from mmdet_setdet.engine.evaluation import (
    RESULTS,
    dump_predictions,
    report_classes,
    select_metrics,
)
from mmdet_setdet.engine.exported import is_exported, use_exported
from mmdet_setdet.engine.precision import use_amp_in_test
from mmdet_setdet.errors import InputError
from mmdet_setdet.visualization import save_test_pictures


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Test as the command line says; return the metrics, e.g. ``{'coco/bbox_mAP': 0.42, ...}``."""
    parser = make_parser(__doc__)
    parser.add_argument(
        'checkpoint',
        help='checkpoint file or URL, a name in SETDET_WEIGHTS, or exported model (.onnx, .xml)',
    )
    parser.add_argument(
        '--eval',
        nargs='+',
        choices=RESULTS,
        default=[],
        metavar='NAME',
        help=f'what to compute, of {", ".join(RESULTS)} (default: what the config computes)',
    )
    parser.add_argument(
        '--report',
        metavar='DIR',
        help='write AP of each class, precision-recall curves and the confusion matrix there',
    )
    parser.add_argument('--out', metavar='FILE.pkl', help='write the predictions there')
    parser.add_argument(
        '--show-dir', metavar='DIR', help='save pictures of predictions beside ground truth there'
    )
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation, as the config describes it'
    )
    args = parser.parse_args(argv)
    cfg = load_config(
        args.config, args.cfg_options, args.launcher, args.work_dir, args.local_rank, args.data
    )
    exported = is_exported(args.checkpoint)
    if exported and (args.amp or args.tta):
        raise InputError(f'{args.checkpoint}: an exported model has neither --amp nor --tta')
    cfg.load_from = None if exported else args.checkpoint
    cfg.resume = False
    if args.eval:
        cfg.test_evaluator = select_metrics(
            cfg.get('test_evaluator'), args.eval, cfg.model, args.config
        )
    if args.report:
        report_classes(cfg, args.report)
    if args.out:
        dump_predictions(cfg, args.out)
    if args.show_dir:
        save_test_pictures(cfg, args.show_dir)
    if args.amp:
        use_amp_in_test(cfg, args.amp)
    if args.tta:
        missing = [key for key in ('tta_model', 'tta_pipeline') if key not in cfg]
        if missing:
            raise InputError(f'--tta: {args.config} has no {" and no ".join(missing)}')
        cfg.model = dict(**cfg.tta_model, module=cfg.model)
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    if exported:
        use_exported(cfg, args.checkpoint)
    return build_runner(cfg).test()


if __name__ == '__main__':
    run(main)

"""Pictures of attention, and what they are drawn from."""

import cv2
import numpy as np
import pytest
import torch
from helpers.configs import CONFIGS, small_model_cfg
from helpers.families import FAMILIES, build_family, family_cfg
from helpers.tiny_detector import tool, write_config, write_dataset
from mmdet.structures import DetDataSample
from mmengine.config import Config

from mmdet_setdet.engine.models import build_model
from mmdet_setdet.errors import InputError
from mmdet_setdet.visualization.attention import HeatMaps, Samples, check_attention, look

CLASSES = [f'class {index}' for index in range(80)]


def packed_image(height, width):
    sample = DetDataSample(metainfo=dict(img_shape=(height, width), scale_factor=(1.0, 1.0)))
    image = torch.randint(256, (3, height, width), dtype=torch.uint8)
    return dict(inputs=image, data_samples=sample)


def look_by(family, layer=-1):
    """Look at an image of 64 x 90 pixels, padded to 96 x 96."""
    model = build_family(family).eval()
    model.data_preprocessor.pad_size_divisor = 96
    return look(model, packed_image(64, 90), CLASSES, layer)


@pytest.mark.parametrize('family', ['detr', 'conditional', 'dab-detr', 'dn-detr'])
def test_queries_look_at_cells_of_the_image_alone(family):
    seen = look_by(family)
    cells = seen.decoder.cells
    assert isinstance(seen.decoder, HeatMaps)
    assert len(cells) == len(seen.boxes) == len(seen.scores)
    np.testing.assert_allclose(cells.sum((1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(seen.extent, [96 / 90, 96 / 64])
    rows = cells.shape[1] * 2 // 3
    assert not cells[:, rows:].any(), 'padding, 64 of 96 rows are not'
    assert (cells[:, :rows] > 0).all()


def test_several_levels_become_one_map():
    seen = look_by('dn-deformable-encoder')
    assert seen.decoder.cells.shape[1:] == seen.grid == (12, 12)
    np.testing.assert_allclose(seen.decoder.cells.sum((1, 2)), 1, atol=1e-5)
    assert isinstance(seen.encoder, Samples)


def test_tokens_look_at_cells_and_are_found_by_their_place():
    seen = look_by('dn-detr')
    assert seen.grid == (3, 3)
    assert seen.encoder.cells.shape == (9, 3, 3)
    # A cell is 32 pixels wide: the last column begins at pixel 64 of 90, the second row at pixel 32 of 64.
    points = np.array([[0, 0], [63 / 90, 0.49], [65 / 90, 0.51], [0.99, 0.99]])
    assert seen.tokens_at(points) == [0, 1, 5, 5]


@pytest.mark.parametrize('family', ['deformable', 'dn-deformable'])
def test_deformable_queries_sample_points_near_their_reference(family):
    seen = look_by(family)
    for samples in (seen.decoder, seen.encoder):
        assert isinstance(samples, Samples)
        assert samples.points.shape == (*samples.weights.shape, 2)
        np.testing.assert_allclose(samples.weights.sum((2, 3)), 1, atol=1e-5)
    assert len(seen.decoder.points) == len(seen.boxes)


def test_a_star_of_points_starts_at_its_token():
    model = build_model(family_cfg('dn-deformable')).eval()
    seen = look(model, packed_image(64, 96), CLASSES)
    [token] = seen.tokens_at(np.array([[0.5, 0.5]]))
    # At first the offsets of all heads cancel each other; a cell of the first map has 8 x 8 pixels.
    mean = seen.encoder.points[token].mean((0, 1, 2))
    np.testing.assert_allclose(mean * [96, 64], [48 + 4, 32 + 4], atol=1e-3)


@pytest.mark.parametrize(
    ('name', 'kind'), [('anchor_detr_r50_50e.py', HeatMaps), ('dino_r50_4scale_12e.py', Samples)]
)
def test_other_detectors(name, kind):
    layers = {'encoder.num_layers': 1, 'decoder.num_layers': 1}
    model = build_model(small_model_cfg(name, **layers)).eval()
    seen = look(model, packed_image(64, 90), CLASSES)
    assert isinstance(seen.decoder, kind)
    assert isinstance(seen.encoder, kind)
    if kind is HeatMaps:
        np.testing.assert_allclose(seen.decoder.cells.sum((1, 2)), 1, atol=1e-5)


def test_layers_differ():
    first, last = (look_by('detr', layer) for layer in (0, -1))
    assert (first.boxes == last.boxes).all()
    assert not np.allclose(first.decoder.cells, last.decoder.cells)


def test_best_queries():
    seen = look_by('dn-detr')
    seen.scores[:] = 0.1
    seen.scores[[7, 3, 5]] = 0.9, 0.8, 0.3
    assert seen.best_queries(0.3, 10) == [7, 3, 5]
    assert seen.best_queries(0.3, 2) == [7, 3]
    assert seen.describe(7).startswith('query 7: class ')
    assert seen.describe(7).endswith(' 0.90')


def test_what_has_no_attention_is_refused():
    with pytest.raises(InputError, match="Sequential: attention can be drawn for this package's"):
        check_attention(torch.nn.Sequential(), -1)
    model = build_family('detr')
    with pytest.raises(InputError, match='--layer 1: the encoder has 1 layers, 0 to 0, or -1'):
        check_attention(model, 1)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with pictures, and with a config and a checkpoint of small models."""
    folder = tmp_path_factory.mktemp('attention')
    write_dataset(folder / 'data')
    for family in ('dn-detr', 'dn-deformable'):
        cfg = Config.fromfile(CONFIGS / FAMILIES[family][0])
        cfg.model = family_cfg(family)
        cfg.dump(folder / f'{family}.py')
        meta = dict(dataset_meta=dict(classes=CLASSES))
        torch.save(
            dict(state_dict=build_family(family).state_dict(), meta=meta), folder / f'{family}.pth'
        )
    return folder


def draw(folder, family, *arguments):
    files = [folder / f'{family}.py', folder / f'{family}.pth', folder / 'data/images/1.jpg']
    arguments = [*map(str, files), '--out-dir', str(folder / family), *arguments]
    return tool('visualize_attention').main(
        [*arguments, '--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=(96,64)']
    )


@pytest.mark.parametrize('family', ['dn-detr', 'dn-deformable'])
def test_the_tool_draws_queries_and_points(folder, family, capsys):
    pictures = draw(folder, family, '--queries', '0', '7', '--points', '10,20', '60,5', '1,1')
    assert [picture.name for picture in pictures] == ['1_decoder.png', '1_encoder.png']
    decoder, encoder = (cv2.imread(str(picture)) for picture in pictures)
    assert encoder.shape[1] == pytest.approx(2 * decoder.shape[1], abs=2), 'four panels, and two'
    assert 'query 7: class ' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--queries', '0', 'first'], '--queries first: give "best", or numbers from 0 to '),
        (['--queries', '1000'], '--queries 1000: give "best"'),
        (['--score', '1.5'], r'1\.jpg: no query has a score of 1.5 or more, the best has '),
        (['--queries', '0', '--points', '64,3'], '--points 64,3: outside of .*1.jpg, .* 64 x 64'),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(folder, arguments, message):
    with pytest.raises(InputError, match=message):
        draw(folder, 'dn-detr', *arguments)


def test_a_dense_detector_and_a_missing_image_are_refused(folder, tmp_path):
    config = write_config(tmp_path, folder / 'data')
    weights = tmp_path / 'retina.pth'
    torch.save(dict(state_dict=build_model(Config.fromfile(config).model).state_dict()), weights)
    with pytest.raises(InputError, match='RetinaNet: attention can be drawn'):
        tool('visualize_attention').main([config, str(weights), str(folder / 'data/images/1.jpg')])
    with pytest.raises(InputError, match=r'no\.jpg: no such image'):
        tool('visualize_attention').main([config, str(weights), 'no.jpg'])

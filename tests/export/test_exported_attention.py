"""What exported models tell of their attention: where the query of each box looks."""

import pytest
import torch
from helpers.families import build_family

from mmdet_setdet.errors import InputError
from mmdet_setdet.export import check_file, make_graph, trace
from mmdet_setdet.models.layers import recording

SIZE = (96, 128)
EVERYTHING = ('batch', 'height', 'width')


def graph_of(family):
    return make_graph(build_family(family), with_layers=True)


def run_graph(graph, images, sizes):
    with torch.no_grad():
        return dict(zip(graph.outputs, graph(images, sizes)))


@pytest.mark.parametrize('family', ['detr', 'conditional', 'dn-detr', 'dn-detr-dc5-patterns'])
def test_each_box_has_the_attention_of_its_query(family):
    graph = graph_of(family)
    layer = graph.model.decoder.layers[-1]
    images, sizes = torch.randn(2, 3, *SIZE), torch.tensor([SIZE, (64, 64)])
    with recording(layer.cross_attn) as notes:
        outputs = run_graph(graph, images, sizes)
    attention, queries = outputs['attention'], outputs['queries']
    cells = 16 if family.endswith('patterns') else 32
    assert attention.shape == (*queries.shape, SIZE[0] // cells, SIZE[1] // cells)
    torch.testing.assert_close(attention.sum((2, 3)), torch.ones(queries.shape))
    height, width = 64 // cells, 64 // cells
    assert not attention[1, :, height:].any()
    assert not attention[1, :, :, width:].any()
    assert (attention[1, :, :height, :width] > 0).all()
    [weights] = notes
    place = 3
    expected = weights[0, :, queries[0, place]].mean(0).view_as(attention[0, place])
    torch.testing.assert_close(attention[0, place], expected)


@pytest.mark.parametrize('family', ['dn-deformable', 'dn-deformable-encoder'])
def test_models_that_attend_to_no_single_map_are_exported_as_before(family):
    graph = graph_of(family)
    outputs = run_graph(graph, torch.randn(1, 3, *SIZE), torch.tensor([SIZE]))
    assert list(outputs)[-1] == 'layer_labels'


def test_a_traced_graph_tells_the_same_and_a_wrong_one_is_an_error():
    graph = graph_of('dn-detr')
    module = trace(graph, SIZE, EVERYTHING).module()

    def run(factor):
        def outputs(**arrays):
            tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
            with torch.no_grad():
                values = dict(zip(graph.outputs, module(**tensors)))
            values['attention'] *= factor
            return {key: value.numpy() for key, value in values.items()}

        return outputs

    differences = check_file(graph, run(1), SIZE, EVERYTHING, 'model')
    assert max(differences.values()) < 1e-4
    with pytest.raises(InputError, match='must not be used'):
        check_file(graph, run(0.9), SIZE, EVERYTHING, 'model')

"""torch.compile: results in one graph, and training that is not compiled again in every step."""

from types import SimpleNamespace

import pytest
import torch
from helpers.families import family_batch
from helpers.family_steps import family_model, training_data
from mmengine.registry import HOOKS

from mmdet_setdet.errors import InputError

# More gts than before, fewer, none, and as few as one.
COUNTS = [(3, 0, 7), (2, 2, 5), (0, 0, 0), (1, 0, 1), (6, 9, 2)]


class CountingBackend:
    """Runs graphs as they are and counts them."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, module, inputs):
        self.graphs += 1
        return module.forward


@pytest.fixture
def backend():
    torch._dynamo.reset()
    yield CountingBackend()
    torch._dynamo.reset()


@pytest.mark.parametrize('family', ['detr', 'dn-detr', 'crossformer'])
def test_inference_is_one_graph(family, backend):
    model = family_model(family, 'cpu').eval()
    data = model.data_preprocessor(family_batch(family), False)

    def predict(inputs, samples):
        return model(inputs, samples, mode='tensor')

    with torch.no_grad():
        expected = predict(**_arguments(data))
        compiled = torch.compile(predict, backend=backend, fullgraph=True)
        torch.testing.assert_close(compiled(**_arguments(data)), expected)
    assert backend.graphs == 1


def _arguments(data):
    return dict(inputs=data['inputs'], samples=data['data_samples'])


@pytest.mark.parametrize(('family', 'graphs'), [('detr', [4, 4, 4]), ('dn-detr', [5, 7, 8])])
def test_training_is_compiled_in_the_first_steps_only(family, graphs, backend):
    model = family_model(family, 'cpu')
    forward = torch.compile(model.forward, backend=backend)
    seen = []
    for counts in COUNTS:
        data = model.data_preprocessor(family_batch(family, counts), True)
        losses = forward(**data, mode='loss')
        sum(losses.values()).backward()
        seen.append(backend.graphs)
    # After the second step sizes are symbols; no gts at all are a case of their own.
    assert seen[:3] == graphs
    assert seen[3:] == graphs[-1:] * 2


def test_a_hook_compiles_parts(backend):
    model = family_model('dn-deformable', 'cpu')
    data = training_data(model, 'dn-deformable')
    expected = model.extract_feat(data['inputs'])
    names = list(model.state_dict())
    hook = HOOKS.build(dict(type='CompileParts', parts=['backbone'], backend=backend))
    hook.before_train(SimpleNamespace(model=model))
    torch.testing.assert_close(model.extract_feat(data['inputs']), expected)
    assert backend.graphs == 1
    assert list(model.state_dict()) == names


def test_a_part_that_is_not_there_is_named():
    model = family_model('ota', 'cpu')
    hook = HOOKS.build(dict(type='CompileParts', parts=['encoder']))
    with pytest.raises(InputError, match="no part 'encoder'; its parts are .*backbone"):
        hook.before_train(SimpleNamespace(model=model))

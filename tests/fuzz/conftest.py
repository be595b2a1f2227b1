"""Fixtures of the fuzz, and its figures: how many cases of each kind of input worked, were refused, or went wrong."""

from collections import Counter
from pathlib import Path

import pytest
from helpers.fuzz import Outcome, Tools, quick_runs, write_fuzz_config
from helpers.tiny_detector import write_dataset
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer

COUNTS: dict[str, Counter] = {}


def pytest_collection_modifyitems(items):
    """Leave the fuzz out of short runs: checks of the input are alike on both stacks."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope='session')
def tiny_data(tmp_path_factory):
    """(config, folder of its data, its annotations); a test that spoils them puts them right again."""
    folder = tmp_path_factory.mktemp('fuzz')
    root = folder / 'data'
    coco = write_dataset(root, num_images=3)
    return write_fuzz_config(folder, root), root, coco


@pytest.fixture(scope='session')
def all_tools(tmp_path_factory):
    """The tools, which write into a folder of their own."""
    return Tools(tmp_path_factory.mktemp('work'))


@pytest.fixture
def tools(all_tools, one_thread):
    """The tools, without the log of the config."""
    with quick_runs():
        yield all_tools
    # mmengine keeps the logger and visualiser of every run.
    MMLogger._instance_dict.clear()
    Visualizer._instance_dict.clear()


@pytest.fixture
def expect_good(request):
    """Count an outcome under the name of the test's file, and fail unless it works or is one clear sentence."""

    def check(outcome: Outcome) -> Outcome:
        kind = request.path.stem.removeprefix('test_')
        COUNTS.setdefault(kind, Counter())[outcome.kind] += 1
        assert outcome.is_good, f'{outcome.kind}: {outcome.text}'
        return outcome

    return check


def pytest_terminal_summary(terminalreporter):
    if not COUNTS:
        return
    terminalreporter.section('fuzz')
    for name, counts in COUNTS.items():
        figures = ', '.join(f'{count} {kind}' for kind, count in counts.most_common())
        terminalreporter.write_line(f'{name}: {counts.total()} cases, {figures}')

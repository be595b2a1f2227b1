"""The code of the pages: Python runs, configs are built, commands are parsed; what cannot says why."""

import argparse
import importlib
import re
from functools import cache

import pytest
import torch
from helpers.configs import CONFIGS, REPOSITORY
from helpers.pages import blocks, calls
from helpers.tiny_detector import tool as load_tool
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import HOOKS

from mmdet_setdet.commands import COMMANDS
from mmdet_setdet.config_names import named_config
from mmdet_setdet.engine.command_line import load_config

tool = cache(load_tool)
BLOCKS = blocks()
PYTHON = [block for block in BLOCKS if block.language == 'python']

# By page and words of the block.
NOT_RUN = {
    ('denoising.md', 'DNConditionalDETR'): 'test_denoising_page.py runs both',
    ('extending.md', ''): 'test_extending_page.py runs all',
    ('slicing.md', ''): 'test_slicing_page.py does the same with random weights',
    ('attention.md', 'recording'): 'goes on with a model; tests/models/layers',
    ('compile.md', 'torch.compile'): 'compiling takes minutes',
    ('converting.md', 'DetInferencer'): 'needs weights of the authors',
    ('export.md', 'SetDetector'): 'needs images and hours; the tutorials run it in small',
    ('export.md', 'runtime import'): 'needs an exported file; the tutorials run it',
    ('model_zoo.md', 'DetInferencer'): 'needs converted weights',
    ('ota.md', 'assigner.build_problems'): 'goes on with predictions; a tutorial runs it',
    ('quick_start.md', 'DetInferencer'): 'needs the weights of the demo',
}
# Parts of a config, with the config that they are for.
PARTS = {
    ('README.md', 'custom_imports'): 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
    ('compile.md', 'custom_hooks'): 'mmdet_setdet::dn_detr_r50_50e.py',
    ('denoising.md', 'None: off'): 'mmdet_setdet::dab_detr_r50_50e.py',
    ('dino.md', 'contrastive'): 'mmdet_setdet::dn_detr_r50_50e.py',
    ('dino.md', 'proposal_assigner'): 'mmdet_setdet::dn_deformable_detr_r50_50e.py',
    ('panoptic.md', 'mask_head'): 'mmdet_setdet::detr_r50_500e.py',
}
SCRIPTS = (
    ('classification.md', 'classifier ='),
    ('crossformer.md', "arch='plus-small'"),
    ('crossformer.md', 'custom_imports'),
    ('ota.md', 'linear_sum_assignment'),
)

OTHERS = {'chmod', 'sudo', 'pip', 'mkdir', 'mv', 'rm', 'head', 'srun', 'scontrol'}
WRITTEN_BY_READERS = {'configs/my_dn_detr.py', 'narrow.py', 'CONFIG'}
CHECKED = set()
USAGE = '[--from FAMILY]'  # no command, but how to write one


def key_of(block, table):
    """The key of a table that is meant for a block, or None."""
    keys = [(page, words) for page, words in table if page == block.page and words in block.code]
    assert len(keys) <= 1, f'{block} is there several times: {keys}'
    return keys[0] if keys else None


def of_table(table):
    return [block for block in PYTHON if key_of(block, table)]


def with_base():
    others = [*NOT_RUN, *PARTS, *SCRIPTS]
    return [block for block in PYTHON if '_base_ =' in block.code and not key_of(block, others)]


def test_every_block_is_run_or_says_why_not():
    known = [*of_table(NOT_RUN), *of_table(PARTS), *of_table(SCRIPTS), *with_base()]
    assert sorted(known) == sorted(PYTHON)


@pytest.mark.parametrize('key', [*NOT_RUN, *PARTS, *SCRIPTS], ids=str)
def test_every_line_of_the_tables_is_meant_for_a_block(key):
    assert any(key_of(block, [key]) for block in PYTHON)


@pytest.fixture
def folder(tmp_path):
    """A folder in which the configs of the repository are found, from beside it and from within."""
    for path in CONFIGS.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / 'configs').symlink_to(CONFIGS)
    return tmp_path


def build(code, folder):
    """Build the model and the hooks of a config, without memory for parameters."""
    (folder / 'config_of_page.py').write_text(code)
    cfg = Config.fromfile(folder / 'config_of_page.py')
    for hook in cfg.get('custom_hooks', []):
        HOOKS.build({key: value for key, value in hook.items() if key != 'priority'})
    with torch.device('meta'):
        return MODELS.build(cfg.model)


@pytest.mark.parametrize('block', with_base(), ids=str)
def test_configs_are_built(block, folder):
    build(block.code, folder)


@pytest.mark.parametrize('block', of_table(PARTS), ids=str)
def test_parts_of_configs_are_built(block, folder):
    base = PARTS[key_of(block, PARTS)]
    build(f"_base_ = '{base}'\n{block.code}", folder)


@pytest.mark.parametrize('block', of_table(SCRIPTS), ids=str)
def test_scripts_run(block):
    names = {}
    exec(block.code, names)
    parts = [*names.get('model', {}).values(), names.get('classifier')]
    parts += [eval(line) for line in block.code.splitlines() if line.startswith('dict(')]
    with torch.device('meta'):
        for part in filter(None, parts):
            MODELS.build(part)


class ParsedError(Exception):
    """Raised with the arguments, in place of what a command does with them."""


@pytest.fixture
def parse_only(monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def stop(parser, *args):
        raise ParsedError(parse(parser, *args))

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)


COMMAND_BLOCKS = [
    block
    for block in BLOCKS
    if (block.language in ('bash', 'shell') or re.search(r'^\$ ', block.code, re.MULTILINE))
    and USAGE not in block.code
]


@pytest.mark.parametrize('block', COMMAND_BLOCKS, ids=str)
def test_commands_are_understood(block, tmp_path, monkeypatch, parse_only):
    commands = calls(block, tmp_path)
    monkeypatch.chdir(REPOSITORY)
    for name, *arguments in commands:
        understand(name, arguments)


def understand(name, arguments):
    """Check that a command exists, takes its options, and that the config takes its settings."""
    if name.endswith('python'):
        name, *arguments = arguments
    if name == 'make':
        assert re.search(rf'^{arguments[0]}:', (REPOSITORY / 'Makefile').read_text(), re.MULTILINE)
    elif name == 'setdet':
        check(COMMANDS[arguments[0]], arguments[1:])
    elif name.endswith(('dist_train.sh', 'dist_test.sh')):
        script = 'train' if 'train' in name else 'test'
        places = [word for word in arguments if not word.isdigit()]  # without the number of GPUs
        parse(tool(script), places)
    elif name.startswith('tools/'):
        parse(tool(name.removeprefix('tools/').removesuffix('.py')), arguments)
    else:
        assert name in OTHERS or name == 'setup.py', name


def check(command, arguments):
    """Parse the arguments of a command of ``setdet``."""
    if command.script:
        parse(tool(command.script.removesuffix('.py')), arguments)
    else:
        parse(importlib.import_module(f'mmdet_setdet.commands.{command.module}'), arguments)


def parse(module, arguments):
    """Let the command's own parser read the arguments, and the config the settings among them."""
    with pytest.raises(ParsedError) as parsed:
        module.main(arguments)
    args = parsed.value.args[0]
    config = getattr(args, 'config', None)
    if config in WRITTEN_BY_READERS or config is None or 'work_dirs' in str(config):
        return
    assert (REPOSITORY / named_config(str(config))).is_file(), config
    settings = getattr(args, 'cfg_options', {})
    # Loops repeat them with other values.
    if settings and (config, *settings) not in CHECKED:
        load_config(str(config), settings)
        CHECKED.add((config, *settings))

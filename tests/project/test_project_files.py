"""Workflows, forms and pages that nothing here executes: what they name exists, and what they repeat agrees."""

import importlib
import re

import pytest
import yaml
from helpers.configs import REPOSITORY

GITHUB = REPOSITORY / '.github'
WORKFLOWS = sorted((GITHUB / 'workflows').glob('*.yml'))
FORMS = sorted((GITHUB / 'ISSUE_TEMPLATE').glob('[!c]*.yml'))  # config.yml is none
ACTIONS = sorted((GITHUB / 'actions').glob('*/action.yml'))
DOCKERFILES = sorted((REPOSITORY / 'docker').glob('Dockerfile.*'))
PYPROJECT = (REPOSITORY / 'pyproject.toml').read_text()
STABILITY = (REPOSITORY / 'docs/stability.md').read_text()
TARGETS = set(re.findall(r'^([\w-]+):', (REPOSITORY / 'Makefile').read_text(), re.MULTILINE))
INPUTS = {'textarea', 'input', 'dropdown', 'checkboxes'}


def names(files):
    return [file.parent.name if file.stem == 'action' else file.name for file in files]


def jobs_of(workflow):
    return yaml.safe_load(workflow.read_text())['jobs'].values()


def steps_of(file):
    content = yaml.safe_load(file.read_text())
    if 'runs' in content:
        return content['runs']['steps']
    return [step for job in content['jobs'].values() for step in job.get('steps', ())]


def check_commands(text):
    """Assert that the targets of make and the scripts of Python that a text calls exist; return how many."""
    targets = re.findall(r'\bmake ([a-z-]+)', text)
    scripts = re.findall(r'\bpython3? (\S+\.py)', text)
    assert set(targets) <= TARGETS
    for script in scripts:
        assert (REPOSITORY / script).is_file()
    return len(targets) + len(scripts)


def test_there_are_workflows_forms_and_images():
    assert {'lint.yml', 'tests.yml', 'package.yml', 'release.yml'} <= set(names(WORKFLOWS))
    assert names(FORMS) == ['bug.yml', 'feature.yml', 'question.yml']
    assert names(DOCKERFILES) == ['Dockerfile.cpu', 'Dockerfile.gpu']


@pytest.mark.parametrize('workflow', WORKFLOWS, ids=names(WORKFLOWS))
def test_a_workflow_may_read_and_ends(workflow):
    content = yaml.safe_load(workflow.read_text())
    assert content['name'] == workflow.stem
    assert content['permissions'] == {'contents': 'read'}
    for job in content['jobs'].values():
        assert 'uses' in job or job['runs-on'].startswith('ubuntu-')


@pytest.mark.parametrize('file', WORKFLOWS + ACTIONS, ids=names(WORKFLOWS + ACTIONS))
def test_steps_call_what_exists(file):
    for step in steps_of(file):
        assert ('uses' in step) != ('run' in step)
        check_commands(step.get('run', ''))


@pytest.mark.parametrize('workflow', WORKFLOWS, ids=names(WORKFLOWS))
def test_what_is_used_exists(workflow):
    used = [step['uses'] for step in steps_of(workflow) if 'uses' in step]
    used += [job['uses'] for job in jobs_of(workflow) if 'uses' in job]
    for name in used:
        if name.startswith('./'):
            assert (REPOSITORY / name).exists()
        else:
            assert re.fullmatch(r'[\w-]+/[\w/-]+@(v\d+|release/v\d+)', name)


def test_commands_are_looked_at():
    lint, release = (GITHUB / 'workflows' / name for name in ('lint.yml', 'release.yml'))
    for file in (lint, release):
        assert any(check_commands(step.get('run', '')) for step in steps_of(file))


@pytest.mark.parametrize('dockerfile', DOCKERFILES, ids=names(DOCKERFILES))
def test_images_call_what_exists(dockerfile):
    text = dockerfile.read_text()
    assert check_commands(text)
    for stage in re.findall(r'--from=(\w+)', text):
        assert f'AS {stage}' in text


def test_images_get_what_the_package_is_built_from():
    ignored = (REPOSITORY / '.dockerignore').read_text().split()
    manifest = (REPOSITORY / 'MANIFEST.in').read_text()
    needed = re.findall(r'^graft (\w+)', manifest, re.MULTILINE)
    needed += ['README.md', 'LICENSE', 'NOTICE', 'Makefile', 'pyproject.toml', 'mmdet_setdet']
    assert not set(ignored) & set(needed)


@pytest.mark.parametrize('form', FORMS, ids=names(FORMS))
def test_a_form_can_be_filled_in(form):
    content = yaml.safe_load(form.read_text())
    assert {'name', 'description', 'body'} <= set(content)
    ids = [field['id'] for field in content['body']]
    assert len(set(ids)) == len(ids)
    for field in content['body']:
        assert field['type'] in INPUTS
        assert field['attributes']['label']
    assert content['body'][0]['validations']['required']


def test_the_tested_pythons_are_the_promised_ones():
    promised = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
    (tests, _) = jobs_of(GITHUB / 'workflows/tests.yml')
    assert tests['strategy']['matrix']['python'] == promised
    assert f'requires-python = ">={promised[0]}"' in PYPROJECT


def test_the_tested_stacks_are_all():
    (tests, _) = jobs_of(GITHUB / 'workflows/tests.yml')
    for stack in tests['strategy']['matrix']['stack']:
        assert (REPOSITORY / f'requirements/{stack}.txt').is_file()


def test_hooks_have_the_versions_of_lint():
    hooks = yaml.safe_load((REPOSITORY / '.pre-commit-config.yaml').read_text())
    pins = (REPOSITORY / 'requirements/dev.txt').read_text().split()
    versions = {hook['repo'].rpartition('/')[2]: hook['rev'].lstrip('v') for hook in hooks['repos']}
    assert f'ruff=={versions["ruff-pre-commit"]}' in pins
    assert f'codespell=={versions["codespell"]}' in pins


def test_papers_are_the_same_in_both_citations():
    citation = yaml.safe_load((REPOSITORY / 'CITATION.cff').read_text())
    page = (REPOSITORY / 'docs/citing.md').read_text()
    entries = page.split('\n@')[2:]
    assert len(entries) == 9
    for reference, entry in zip(citation['references'], entries, strict=True):
        fields = dict(re.findall(r'^  (\w+) += \{(.+?)\},$', entry, re.MULTILINE | re.DOTALL))
        assert re.sub('[{}]', '', fields['title']) == reference['title']
        assert fields['year'] == str(reference['year'])
        assert fields['eprint'] == reference['url'].rpartition('/')[2]
        authors = [f'{one["family-names"]}, {one["given-names"]}' for one in reference['authors']]
        assert re.split(r' and\s+', fields['author']) == authors


ROWS = re.findall(r'^\| `(mmdet_setdet\S*)` \| (.+) \|$', STABILITY, re.MULTILINE)


@pytest.mark.parametrize(('module', 'listed'), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_promised_exists(module, listed):
    public = re.findall(r'`(\w+)`', listed)
    assert public
    for name in public:
        assert hasattr(importlib.import_module(module), name)


def test_typed_modules_are_listed():
    modules = {module for module, _ in ROWS}
    for file in re.findall(r'^    "(mmdet_setdet\S*?)(?:\.py)?",$', PYPROJECT, re.MULTILINE):
        module = file.removesuffix('/__init__').replace('/', '.')
        assert module in modules | {'mmdet_setdet.set_detector'}

#!/usr/bin/env python3
"""Check that all places name the same version; before a release also that a tag does. Standard library only."""

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Where the version stands, and how. In the changelog it is the newest entry.
PLACES = {
    'mmdet_setdet/version.py': r"^__version__ = '(.+)'$",
    'CITATION.cff': r'^version: (.+)$',
    'docs/citing.md': r'^  version = \{(.+)\},$',
    'CHANGELOG.md': r'^## (\S+)',
}
DATED = r'^## \S+ - \d{4}-\d\d-\d\d$'


def named_versions(root: Path = ROOT) -> dict[str, str]:
    """Return the version that each place names."""
    versions = {}
    for name, pattern in PLACES.items():
        found = re.search(pattern, (root / name).read_text(), re.MULTILINE)
        versions[name] = found.group(1) if found else 'none'
    return versions


def check_versions(tag: str = '', root: Path = ROOT) -> str:
    """Return the version.

    Args:
        tag (str): The tag to release, ``v1.2.3``; '' for none.
        root (Path): Folder of the repository.

    Raises:
        SystemExit: Two places disagree, or the tag with them, or the changelog does not say when it was released.
    """
    versions = named_versions(root)
    if len(set(versions.values())) > 1:
        raise SystemExit(f'error: the versions differ: {versions}')
    version = versions['CITATION.cff']
    if not tag:
        return version
    if tag != f'v{version}':
        raise SystemExit(f'error: the tag is {tag}, but the version is {version}')
    newest = re.search(r'^## .+$', (root / 'CHANGELOG.md').read_text(), re.MULTILINE).group()
    if not re.fullmatch(DATED, newest):
        raise SystemExit(
            f'error: CHANGELOG.md says "{newest}"; it must say "## {version} - YEAR-MONTH-DAY"'
        )
    return version


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--tag', default='', help='the tag to release, v1.2.3')
    print(check_versions(parser.parse_args().tag))

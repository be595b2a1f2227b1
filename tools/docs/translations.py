#!/usr/bin/env python
"""List the Chinese pages that lag behind their English ones, with the sections that changed.

A Chinese page names the English text that it says in Chinese by the first 12 digits of its SHA-256.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
MARK = re.compile(r'SHA-256 ([0-9a-f]{12}) -->')


def chinese_pages(root: Path) -> list[Path]:
    """Return the Chinese pages of a repository: in its root and in docs."""
    return [*sorted(root.glob('*.zh.md')), *sorted(root.glob('docs/**/*.zh.md'))]


def english_page(page: Path) -> Path:
    """Return where the English page of a Chinese one lies."""
    return page.with_name(page.name.replace('.zh.md', '.md'))


def digest(text: str) -> str:
    """Return the first 12 digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def translated_digest(page: Path) -> str:
    """Return the digest of the English text that a Chinese page was written for."""
    return MARK.search(page.read_text(encoding='utf-8'))[1]


def lags(page: Path) -> bool:
    """Return whether the English page has changed since the Chinese one was written."""
    text = english_page(page).read_text(encoding='utf-8')
    return translated_digest(page) != digest(text)


def sections(text: str) -> dict[str, str]:
    """Return the lines under each heading; a comment in a block of code is no heading."""
    found = defaultdict(str)
    heading, in_code = '', False
    for line in text.splitlines(keepends=True):
        in_code ^= line.lstrip().startswith('```')
        if line.startswith('#') and not in_code:
            heading = line.strip('# \n')
        found[heading] += line
    return found


def changed_sections(page: Path) -> list[str]:
    """Return the headings whose English text changed; none if git does not know the old text."""
    english = english_page(page)
    old_text = committed_text(english, translated_digest(page))
    if old_text is None:
        return []
    old, new = sections(old_text), sections(english.read_text(encoding='utf-8'))
    return [heading for heading in new | old if new.get(heading) != old.get(heading)]


def committed_text(page: Path, wanted: str) -> str | None:
    """Return the text with a digest from the history of a page."""
    commits = git(page.parent, 'log', '--format=%H', '--', page.name).split()
    texts = (git(page.parent, 'show', f'{commit}:./{page.name}') for commit in commits)
    return next((text for text in texts if digest(text) == wanted), None)


def git(folder: Path, *arguments: str) -> str:
    """Return what a git command prints; '' without git or a repository."""
    if not shutil.which('git'):
        return ''
    command = ['git', '-C', str(folder), *arguments]
    return subprocess.run(command, capture_output=True, encoding='utf-8').stdout


def update(page: Path) -> None:
    """Write into a Chinese page that it says what the English one says now."""
    text = page.read_text(encoding='utf-8')
    now = digest(english_page(page).read_text(encoding='utf-8'))
    page.write_text(MARK.sub(f'SHA-256 {now} -->', text, count=1), encoding='utf-8')


def fault(page: Path) -> str | None:
    """Return what keeps a page from being compared with its English one."""
    if not page.name.endswith('.zh.md') or not page.is_file():
        return 'no such Chinese page; give the path of a file NAME.zh.md'
    if not english_page(page).is_file():
        return f'there is no {english_page(page).name} beside it; move or delete it'
    if not MARK.search(page.read_text(encoding='utf-8')):
        return 'add the line <!-- SHA-256 000000000000 --> below its title'
    return None


def main(argv: Sequence[str] | None = None) -> None:
    """Print which pages lag, after those that the command line names have been updated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--root', type=Path, default=REPOSITORY, help='folder of the repository (default: this one)'
    )
    parser.add_argument(
        '--update',
        nargs='+',
        type=Path,
        default=[],
        metavar='PAGE',
        help='Chinese pages that say what the English ones say now',
    )
    args = parser.parse_args(argv)
    pages = chinese_pages(args.root)
    for page in [*args.update, *pages]:
        if what := fault(page):
            parser.error(f'{page}: {what}')
    for page in args.update:
        update(page)
    for page in filter(lags, pages):
        line = f'{page.relative_to(args.root)} lags behind {english_page(page).name}'
        print(line, *changed_sections(page), sep='\n    ')


if __name__ == '__main__':
    main()

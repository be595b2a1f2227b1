"""What the pages need on the site and not in the repository, for ``mkdocs.yml``."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
INDEX = {'index.md': 'README.md', 'index.zh.md': 'README.zh.md'}
# The site switches languages itself.
OTHER_LANGUAGE = re.compile(r'^\[[^]]+\]\(README(\.zh)?\.md\)\n', re.MULTILINE)
OUT_OF_DOCS = re.compile(r'\[([^]]+)\]\(\.\./[^)]+\)')


def on_page_markdown(markdown: str, page, **_) -> str:
    """Return the text of a page: the README's on the first; what lies outside docs/ is named, not linked."""
    if readme := INDEX.get(page.file.src_uri):
        text = (REPOSITORY / readme).read_text(encoding='utf-8')
        return OTHER_LANGUAGE.sub('', text).replace('](docs/', '](')
    return OUT_OF_DOCS.sub(r'\1', markdown)

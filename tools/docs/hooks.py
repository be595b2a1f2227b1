"""What pages need on the site and not in the repository; ``mkdocs.yml`` names this file."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FIRST_PAGES = {'index.md': 'README.md', 'index.zh.md': 'README.zh.md'}
# The site switches languages itself.
OTHER_LANGUAGE = re.compile(r'^\[[^]]+\]\(README(\.zh)?\.md\)\n', re.MULTILINE)
# In a paragraph a line's end is a space, which Chinese has not.
CHINESE_LINES = re.compile(r'(?<=[\u3000-\u9fff\uff00-\uffef])\n *(?=[\u4e00-\u9fff])')
FROM_ROOT = re.compile(r'\]\((?!docs/|https?:|#)')
OUT_OF_DOCS = re.compile(r'\[([^]]+)\]\(\.\./[^)]+\)')
# Sphinx's roles and directives of docstrings, as HTML.
ROLE = re.compile(r':(?:attr|class|data|func|meth|mod):<code>(?:~[\w.]+\.)?')
DIRECTIVE = re.compile(r'<p>\.\. code:: \w+</p>\s*')


def on_page_markdown(markdown: str, page, **_) -> str:
    """Return the text of a page: on the first one the README; of files outside docs/ the names, without a link."""
    source = page.file.src_uri
    if source in FIRST_PAGES:
        readme = (REPOSITORY / FIRST_PAGES[source]).read_text(encoding='utf-8')
        markdown = FROM_ROOT.sub('](../', OTHER_LANGUAGE.sub('', readme)).replace('](docs/', '](')
    if '/' not in source:
        markdown = OUT_OF_DOCS.sub(r'\1', markdown)
    if source.endswith('.zh.md'):
        markdown = CHINESE_LINES.sub('', markdown)
    return markdown.replace('.ipynb)', '.md)')


def on_page_content(html: str, **_) -> str:
    """Return the HTML of a page without the marks of Sphinx in docstrings."""
    html = DIRECTIVE.sub('', ROLE.sub('<code>', html))
    return html.replace('::</p>', ':</p>')

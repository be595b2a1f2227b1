"""The Chinese pages: those that lag are found; the others show what the English ones show."""

import re
import subprocess

import pytest
from helpers.configs import REPOSITORY
from helpers.pages import BLOCK
from helpers.tiny_detector import tool

TRANSLATIONS = tool('docs/translations')
PAGES = TRANSLATIONS.chinese_pages(REPOSITORY)
every_page = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)

LINK = re.compile(r'(?<!!)\[[^]]*\]\(([^):\s]+)\)')
ENGLISH = '# Page\n\n## One\nold\n\n## Two\n```\n# a comment\n```\n'


@pytest.fixture
def page(tmp_path):
    """A Chinese page that says what its English one says."""
    (tmp_path / 'page.md').write_text(ENGLISH)
    page = tmp_path / 'page.zh.md'
    page.write_text('# 页\n\n<!-- page.md, SHA-256 000000000000 -->\n')
    TRANSLATIONS.update(page)
    return page


def run(page, capsys, *arguments):
    TRANSLATIONS.main(['--root', str(page.parent), *arguments])
    return capsys.readouterr().out


def test_a_page_lags_until_it_is_updated(page, capsys):
    assert run(page, capsys) == ''
    (page.parent / 'page.md').write_text(ENGLISH.replace('old', 'new'))
    assert run(page, capsys) == 'page.zh.md lags behind page.md\n'
    assert run(page, capsys, '--update', str(page)) == ''
    assert '# 页' in page.read_text()


def test_git_knows_which_sections_changed(page, capsys):
    def git(*arguments):
        me = ['-c', 'user.name=me', '-c', 'user.email=me@example.org']
        subprocess.run(['git', '-C', page.parent, *me, *arguments], check=True)

    git('init', '--quiet')
    git('add', '.')
    git('commit', '--quiet', '--message', 'pages')
    changed = ENGLISH.replace('old', 'new').replace('comment', 'remark') + '\n## Three\n'
    (page.parent / 'page.md').write_text(changed)
    assert run(page, capsys) == 'page.zh.md lags behind page.md\n    One\n    Two\n    Three\n'


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('page.md', '# Page', 'no such Chinese page'),
        ('missing.zh.md', None, 'no such Chinese page'),
        ('alone.zh.md', '# 页', 'there is no alone.md beside it'),
        ('page.zh.md', '# 页', 'add the line <!-- SHA-256'),
    ],
)
def test_a_page_that_cannot_be_compared_is_named(name, text, message, page, capsys):
    if text:
        page.with_name(name).write_text(text)
    with pytest.raises(SystemExit):
        TRANSLATIONS.main(['--update', str(page.with_name(name))])
    error = capsys.readouterr().err
    assert name in error
    assert message in error


def read(page):
    return page.read_text(encoding='utf-8')


def commands(text):
    """The lines of the blocks that a reader types, without comments."""
    typed = dict(bash=r'^.+', shell=r'^.+')
    lines = set()
    for language, block in BLOCK.findall(text):
        pattern = typed.get(language, r'^\$ .+')
        lines.update(re.findall(pattern, without_comment(block), re.MULTILINE))
    return lines


def without_comment(code):
    return re.sub(r'(^|\s+)#.*$', '', code, flags=re.MULTILINE)


def test_there_are_pages():
    assert {'README.zh.md', 'install.zh.md', 'denoising.zh.md'} <= {page.name for page in PAGES}


@every_page
def test_its_commands_are_those_of_the_english_page(page):
    assert commands(read(page)) <= commands(read(TRANSLATIONS.english_page(page)))


@every_page
def test_it_shows_what_the_english_page_shows(page):
    if TRANSLATIONS.lags(page):
        pytest.skip('the English page has changed since')
    assert shown(read(page)) == shown(read(TRANSLATIONS.english_page(page)))


def shown(text):
    """What does not depend on the language: headings' levels, pictures, code, figures of tables."""
    prose = BLOCK.sub('', text)
    rows = re.findall(r'^ *\|.*', prose, re.MULTILINE)
    return dict(
        headings=re.findall(r'^#+(?= )', prose, re.MULTILINE),
        pictures=re.findall(r'!\[.*?\]\((.*?)\)', prose),
        blocks=[without_comment(block) for _, block in BLOCK.findall(text)],
        names=set(re.findall(r'`(.+?)`', prose)),
        figures=[sorted(re.findall(r'\d+(?:\.\d+)?', row)) for row in rows],
    )


@every_page
def test_its_punctuation_is_chinese(page):
    prose = BLOCK.sub('', read(page))
    assert re.findall(r'.*[\u4e00-\u9fff][,:;?!()].*', prose) == []


@every_page
def test_its_links_lead_somewhere(page):
    for link in LINK.findall(read(page)):
        path, _, anchor = link.partition('#')
        target = page.parent / path if path else page
        assert target.exists(), link
        if target != TRANSLATIONS.english_page(page):
            assert not target.with_suffix('.zh.md').exists(), f'{link} has a Chinese page'
        if anchor:
            assert anchor in anchors(read(target)), link


@every_page
def test_links_of_english_pages_lead_into_it(page):
    """On the Chinese site they lead to it where the page that has them is only in English."""
    name = re.escape(TRANSLATIONS.english_page(page).name)
    for other in page.parent.glob('*.md'):
        for anchor in re.findall(rf'\({name}#([^)]+)\)', read(other)):
            wanted = f'<a id="{anchor}"></a> above the heading that it means'
            assert anchor in anchors(read(page)), f'{other.name} links to it; add {wanted}'


def anchors(text):
    """The anchors in a page, those that GitHub gives to the headings included."""
    headings = re.findall(r'^#+ (.*)', BLOCK.sub('', text), re.MULTILINE)
    slugs = [re.sub(r'[^\w\- ]', '', heading).lower().replace(' ', '-') for heading in headings]
    return {*slugs, *re.findall(r'<a id="(.+?)">', text)}

"""What a release checks before anything is published."""

import subprocess
import zipfile

import pytest
from helpers.configs import REPOSITORY
from helpers.tiny_detector import tool

versions = tool('release/versions')


@pytest.fixture
def release(monkeypatch):
    """The module tools/release/release.py."""
    monkeypatch.syspath_prepend(str(REPOSITORY / 'tools/release'))
    return tool('release/release')


@pytest.fixture
def places(tmp_path):
    """A function that writes all files that name a version; it returns their folder."""

    def write(version: str, date: str = '(unreleased)'):
        (tmp_path / 'mmdet_setdet').mkdir()
        (tmp_path / 'docs').mkdir()
        (tmp_path / 'mmdet_setdet/version.py').write_text(f"__version__ = '{version}'\n")
        (tmp_path / 'CITATION.cff').write_text(f'title: x\nversion: {version}\n')
        (tmp_path / 'docs/citing.md').write_text(f'  version = {{{version}}},\n')
        (tmp_path / 'CHANGELOG.md').write_text(f'# Changelog\n\n## {version} {date}\n')
        return tmp_path

    return write


def test_all_places_name_one_version():
    assert len(set(versions.named_versions().values())) == 1
    assert set(versions.named_versions()) == set(versions.PLACES)


def test_a_place_that_differs_is_named(places):
    folder = places('2.0.0')
    (folder / 'CITATION.cff').write_text('version: 1.9.0\n')
    with pytest.raises(SystemExit, match=r"differ: .*'CITATION\.cff': '1\.9\.0'"):
        versions.check_versions(root=folder)


def test_a_tag_is_of_the_version_and_has_a_date(places):
    folder = places('2.0.0', '- 2030-01-31')
    assert versions.check_versions('v2.0.0', folder) == '2.0.0'
    with pytest.raises(SystemExit, match='tag is v2.0.1, but the version is 2.0.0'):
        versions.check_versions('v2.0.1', folder)


def test_a_version_without_date_is_not_released(places):
    folder = places('2.0.0')
    assert versions.check_versions('', folder) == '2.0.0'
    with pytest.raises(SystemExit, match='must say "## 2.0.0 - YEAR-MONTH-DAY"'):
        versions.check_versions('v2.0.0', folder)


def write_wheel(release, path, *more, content=''):
    with zipfile.ZipFile(path, 'w') as archive:
        for name in (*release.WANTED, *more):
            archive.writestr(f'mmdet_setdet/{name}', content)
    return path


def test_a_good_wheel_passes(release, tmp_path, capsys):
    release.check_wheel(write_wheel(release, tmp_path / 'good.whl'))
    assert f'{len(release.WANTED)} files' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['tests/test_x.py', '.mim/tools/benchmarks/timing.py'])
def test_a_wheel_with_files_for_developers_is_refused(release, tmp_path, name):
    wheel = write_wheel(release, tmp_path / 'bad.whl', name)
    with pytest.raises(SystemExit, match=f'should not have .*{name}'):
        release.check_wheel(wheel)


def test_a_wheel_without_configs_is_refused(release, tmp_path):
    with zipfile.ZipFile(tmp_path / 'bad.whl', 'w') as archive:
        archive.writestr('mmdet_setdet/py.typed', '')
    with pytest.raises(SystemExit, match='lacks .*dn_detr_r50_50e'):
        release.check_wheel(tmp_path / 'bad.whl')


def test_a_large_wheel_is_refused(release, tmp_path):
    wheel = write_wheel(release, tmp_path / 'bad.whl', content='x' * release.LARGEST)
    with pytest.raises(SystemExit, match='more than 500000'):
        release.check_wheel(wheel)


def test_sums_are_of_all_files_and_can_be_checked(release, tmp_path, monkeypatch):
    monkeypatch.setattr(release, 'DIST', tmp_path)
    (tmp_path / 'weights').mkdir()
    (tmp_path / 'weights/a.pth').write_bytes(b'weights')
    (tmp_path / 'b.whl').write_bytes(b'wheel')
    release.write_sums()
    release.write_sums()  # again: not of the sums
    check = ['sha256sum', '--check', '--strict', 'SHA256SUMS']
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == ['b.whl: OK', 'weights/a.pth: OK']
    assert done.returncode == 0

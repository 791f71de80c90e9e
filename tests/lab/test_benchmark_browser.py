"""The measurement itself is tested with the page, in `tests/ship/test_web.py`."""

import numpy as np
from PIL import Image

from training.lab import benchmark_browser
from training.lab.benchmark_browser import main, write_photos


def test_photos_have_a_megapixel_and_differ(tmp_path):
    first, second = (Image.open(path) for path in write_photos(tmp_path, 2))
    assert first.width * first.height / 1e6 == 1.00023
    assert not np.array_equal(first, second)


def test_a_folder_without_a_page_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark_browser", str(tmp_path)])
    assert main() == 2
    assert f"{tmp_path} holds no page" in capsys.readouterr().out


def test_too_few_photos_are_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "index.html").touch()
    few = str(benchmark_browser.SETTLING)
    monkeypatch.setattr("sys.argv", ["benchmark_browser", str(tmp_path), "--photos", few])
    assert main() == 2
    assert "is too few" in capsys.readouterr().out

import json

import pytest

from training.__main__ import main
from training.lab import benchmark as benchmark_module
from training.lab.benchmark import benchmark, tables

SPREAD = {"low": 1.0, "median": 2.0, "high": 3.0}
NETWORK = {
    "side": 160,
    "gflop": 0.5,
    "gemm": {"1": 50.0, "2": 100.0},
    "batch": 8,
    "rows": [{"name": "Keras", "threads": 2, "one": SPREAD, "batch": SPREAD, "over_limit": 0.4}],
}
PHOTO = {"finder": "YuNet", "photos": {}}
PAGE = {
    "finder": "YuNet",
    **dict.fromkeys(("page_seconds", "keras_page_seconds", "clip_seconds", "burst_seconds"), 1.5),
    **dict.fromkeys(("page_megabytes", "keras_page_megabytes", "burst_megabytes"), 300.0),
}
GROWTH = {
    "speed": [{"workers": 1, "photos_per_second": 100.0, "start_seconds": 2.0}],
    "memory": [{"photos": 1000, "main_megabytes": 70.0, "worker_megabytes": 60.0}],
    "megabytes_per_million": None,
}


@pytest.fixture
def parts(monkeypatch):
    """Replace each measurement with its figures."""
    for name, figures in {
        "time_networks": NETWORK,
        "time_photos": PHOTO,
        "time_page": PAGE,
        "time_training": {"160": 40.0},
        "measure_growth": GROWTH,
    }.items():
        monkeypatch.setattr(benchmark_module, name, lambda *_, figures=figures: figures)


def test_figures_are_written_as_json(parts, tmp_path):
    output = tmp_path / "new/figures.json"
    assert main(["benchmark", "--output", str(output)]) == 0
    written = json.loads(output.read_text())
    assert written["network"] == NETWORK
    assert written["machine"]["cores"] >= 1
    assert "growth" not in written


def test_growth_is_measured_and_drawn_if_asked_for(parts, tmp_path):
    figures = benchmark(growth=True, plot=tmp_path / "growth.png")
    assert figures["growth"] == GROWTH
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    text = "\n".join(tables(figures))
    assert "10.0 ms a photo" in text  # half a GFLOP at 50 a second
    assert "| Keras | 2 | 2.0 (1.0 to 3.0) | 2.0 (1.0 to 3.0) | 0.4 |" in text
    assert "| 1 | 100 | 1.00 | 2.0 s | 2.8 h | 0.28 h |" in text
    assert "| 160 px | 40 |" in text


def test_a_plot_without_growth_is_named(capsys):
    assert main(["benchmark", "--plot", "growth.png"]) == 2
    assert "--growth" in capsys.readouterr().err

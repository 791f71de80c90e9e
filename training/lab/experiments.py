"""Train and compare the runs of an experiment: `python -m training lab NAME`.

`experiments.toml` defines them. Finished runs are not trained again; interrupted ones resume.
"""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path

from training.config import CONFIG
from training.errors import UserError

EXPERIMENTS = Path(__file__).with_name("experiments.toml")
RESULTS = Path(__file__).with_name("results")
RUNS = Path("runs/lab")

log = logging.getLogger(__name__)


def read_experiments() -> dict[str, dict]:
    """Return `data`, `recipe`, `seeds`, `runs` and maybe `folds` of each experiment by name."""
    return tomllib.loads(EXPERIMENTS.read_text(encoding="utf-8"))


def run_experiment(name: str, *, backbone_weights: str, data: Path | None = None) -> Path:
    """Train and compare the runs of an experiment; return the file of its figures.

    Args:
        name: name of the experiment.
        backbone_weights: weights that all runs start from.
        data: prepared folder, by default the experiment's.

    Raises:
        UserError: there is no such experiment, or as for `train` and `compare`.
    """
    from training.fit.train import train_recipe
    from training.lab.compare import compare
    from training.measure.evaluate import evaluate_folds

    experiments = read_experiments()
    if name not in experiments:
        raise UserError(f"There is no experiment {name}: use one of {', '.join(experiments)}.")
    experiment = experiments[name]
    data, folds = data or Path(experiment["data"]), experiment.get("folds")
    runs = []
    for run, settings in experiment["runs"].items():
        settings = dict(settings)
        recipe = settings.pop("recipe", experiment["recipe"])
        for seed in settings.pop("seeds", experiment["seeds"]):
            folder = RUNS / name / f"{run}-{seed}"
            log.info("%s.", folder)
            flags = {**settings, "data": data, "run": folder, "seed": seed}
            flags["backbone_weights"] = backbone_weights
            train_recipe(recipe, flags, resume=(folder / CONFIG).exists())
            if folds:
                evaluate_folds(folder, data, folds, backbone_weights=backbone_weights)
            runs.append(folder)
    output = RESULTS / f"{name}.json"
    compare(runs, data, output=output, folds=bool(folds))
    return output

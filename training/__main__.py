"""Make a detector from photos: `python -m training run`; each step is also a verb of its own."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields
from pathlib import Path

from space.photos import PhotoError
from training.config import DEFAULT_RECIPE, RECIPES, SPLITS, PrepareConfig, TrainConfig
from training.errors import UserError
from training.flags import EXAMPLES, add_flags, check_verb, read_settings

SPLIT_CHOICES = {"test": ("test",), "unseen": ("validation", "test"), "all": SPLITS}
DATA = {"type": Path, "help": "prepared folder (default: the one that it was trained on)"}

log = logging.getLogger("training")


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; return the exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no start-up messages of TensorFlow
    logging.basicConfig(format="%(message)s")
    log.setLevel(logging.INFO)
    arguments = sys.argv[1:] if arguments is None else arguments
    parser, verbs = _parser()
    check_verb(parser, verbs, arguments)
    options = vars(parser.parse_args(arguments))
    try:
        return options.pop("call")(**options) or 0
    except (UserError, PhotoError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder without write permission
        print(f"error: {error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "Interrupted; `train`, `run` and `score` (but not on Ray) continue with --resume, "
            "`push` when it is run again.",
            file=sys.stderr,
        )
        return 130


def _parser() -> tuple[argparse.ArgumentParser, Collection[str]]:
    """Return the argument parser and the names of the verbs."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(call, help_text: str) -> argparse.ArgumentParser:
        name = call.__name__.removeprefix("_").replace("_", "-")
        verb = verbs.add_parser(name, help=help_text, description=help_text)
        verb.set_defaults(call=call)
        return verb

    _add_making_verbs(add)
    _add_measuring_verbs(add)
    _add_score(add)
    _add_push(add)
    _add_web(add)
    _add_benchmark(add)
    add(_sources, "list the known sets of photos, and where anybody can have them")
    lab = add(_lab, "train and compare the runs of an experiment")
    lab.add_argument("name", metavar="NAME", help="of training/lab/experiments.toml")
    lab.add_argument("--backbone-weights", default=TrainConfig.backbone_weights)
    lab.add_argument("--data", type=Path, help="prepared folder (default: the experiment's)")
    add(_tables, "write the tables of README and lab/RESULTS.md anew")
    return parser, verbs.choices


def _add_making_verbs(add: Callable) -> None:
    prepare = add(_prepare, "turn photos or the Kaggle download into an ImageFolder")
    add_flags(prepare, PrepareConfig)
    train = add(_train, "fine-tune the network on a prepared folder")
    export = add(_export, "convert a run to LiteRT and keep the fastest variant that is as good")
    export.add_argument("run", metavar="RUN", type=Path, help="folder of a run")
    export.add_argument("--data", **DATA)
    export.add_argument("--output", type=Path, help="folder to write (default: RUN/export)")
    run = add(_run, "prepare, train, evaluate and export in turn")
    add_flags(run, PrepareConfig, without=("output", "seed"))
    for verb, name in ((train, "train"), (run, "run")):
        verb.formatter_class = argparse.RawDescriptionHelpFormatter
        verb.epilog = EXAMPLES.format(verb=name)
        group = verb.add_argument_group("training")
        group.add_argument(
            "--recipe", choices=list(RECIPES), default=DEFAULT_RECIPE, help="settings to start from"
        )
        add_flags(group, TrainConfig)
        group.add_argument(
            "--set",
            dest="settings",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            help="another setting of training/config.py, for experiments, any number of times",
        )
        group.add_argument("--resume", action="store_true", help="resume an interrupted run")


def _add_measuring_verbs(add: Callable) -> None:
    evaluate = add(_evaluate, "measure a run or an exported model on a split")
    evaluate.add_argument("model", metavar="RUN_OR_MODEL", help="folder of a run or exported model")
    evaluate.add_argument("--split", choices=SPLITS, default="test")
    evaluate.add_argument(
        "--report", action="store_true", help="write the full report, of the exported model"
    )
    folders = {"action": "append", "default": [], "metavar": "NAME=FOLDER"}
    evaluate.add_argument("--foreign", help="real/ and fake/ of other kinds of fakes", **folders)
    evaluate.add_argument("--bona-fide", help="ordinary real photos", **folders)
    evaluate.add_argument("--output", type=Path, help="where figures go (default: RUN_OR_MODEL)")
    evaluate.add_argument(
        "--folds", type=int, help="train RUN anew for each of so many folds, pool their scores"
    )
    evaluate.add_argument(
        "--backbone-weights", metavar="PATH", help="for --folds, where RUN was given a path"
    )
    stress = add(_stress, "measure how a model takes compression, blur, noise and the like")
    stress.add_argument("--split", choices=SPLITS, default="test")
    explain = add(_explain_test, "measure whether the heatmap points at what was manipulated")
    explain.add_argument("--splits", choices=list(SPLIT_CHOICES), default="test")
    for verb in (stress, explain):
        verb.add_argument("model", metavar="MODEL", type=Path, help="folder of an exported model")
        verb.add_argument("--output", type=Path, help="where figures go (default: MODEL)")
    compare = add(_compare, "measure runs on the same photos, each against the first")
    compare.add_argument(
        "runs", metavar="RUN", type=Path, nargs="+", help="folders of runs or exported models"
    )
    compare.add_argument("--split", choices=SPLITS, help="(default: validation)")
    compare.add_argument("--output", type=Path, help="file to write (default: in the first run)")
    compare.add_argument(
        "--folds",
        action="store_true",
        help="all photos, by the scores that `evaluate --folds` left in the runs",
    )
    baselines = add(_baselines, "measure classical methods on the same split as a model")
    baselines.add_argument("--run", type=Path, help="folder of a run, measured beside them")
    baselines.add_argument("--model", type=Path, help="exported model, measured beside them")
    baselines.add_argument(
        "--backbone-weights", default=TrainConfig.backbone_weights, help="of the linear probe"
    )
    baselines.add_argument("--output", type=Path, help="file to write (default: in the data)")
    for verb in (evaluate, stress, explain, compare, baselines):
        verb.add_argument("--data", **DATA)
    audit = add(_audit, "look for what gives the labels away: exit code 1 if there is something")
    audit.add_argument("data", metavar="DATA", type=Path, help="prepared folder, or any photos")
    audit.add_argument("--output", type=Path, help="file to write (default: in a prepared folder)")


def _add_score(add: Callable) -> None:
    score = add(_score, "score every face of a collection of photos, however large")
    score.add_argument(
        "where",
        metavar="INPUT",
        help="folder, glob, list of paths (.txt), fsspec address, or dataset to stream",
    )
    score.add_argument(
        "--output", type=Path, required=True, metavar="OUT", help=".parquet or .csv file to write"
    )
    score.add_argument("--model", help="folder or NS/NAME on the Hub (default: the bundled one)")
    score.add_argument("--split", help="of a dataset (default: train)")
    score.add_argument(
        "--whole-picture", action="store_true", help="look for no face, judge the whole picture"
    )
    score.add_argument(
        "--provenance",
        action="store_true",
        help="add columns with what each file says of how it was made",
    )
    score.add_argument("--workers", type=int, help="processes (default: one a core)")
    score.add_argument("--resume", action="store_true", help="resume an interrupted run")
    score.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray: on a cluster, OUT is a folder of Parquet files (default: local)",
    )
    score.add_argument("--address", help="of the Ray cluster (default: RAY_ADDRESS, or none)")


def _add_benchmark(add: Callable) -> None:
    benchmark = add(_benchmark, "time the model, a photo's way, the page and training")
    benchmark.add_argument("--output", type=Path, help="JSON file to write")
    benchmark.add_argument(
        "--growth", action="store_true", help="score up to 100,000 photos as well (15 minutes)"
    )
    benchmark.add_argument("--plot", type=Path, help="picture to draw, with --growth")


def _add_push(add: Callable) -> None:
    push = add(_push, "push a run to the Hugging Face Hub, with its page and its photos")
    push.add_argument("run", metavar="RUN", type=Path, help="folder of a run that was exported")
    repository = {"metavar": "NS/NAME"}
    push.add_argument("--model-id", required=True, help="repository of the model", **repository)
    push.add_argument("--space-id", help="repository of the page", **repository)
    push.add_argument(
        "--static-space-id", help="repository of a page that judges in the browser", **repository
    )
    push.add_argument("--dataset-id", help="repository of the photos, private", **repository)
    push.add_argument("--data", **DATA)
    push.add_argument("--private", action="store_true", help="make model and page private")
    push.add_argument(
        "--public-dataset", action="store_true", help="make the photos public: only if you may"
    )
    push.add_argument("--tag", help="name for the model's commit, say v1")
    push.add_argument(
        "--examples", type=Path, metavar="FOLDER", help="photos that the page offers to try"
    )
    push.add_argument(
        "--dry-run", action="store_true", help="print what would be pushed, without asking the Hub"
    )


def _add_web(add: Callable) -> None:
    page = add(_web, "make the page that judges in the visitor's browser, for a static host")
    page.add_argument("output", metavar="OUT", type=Path, help="folder to write")
    page.add_argument(
        "--model", type=Path, help="folder of an exported model (default: the bundled one)"
    )


# Each verb imports what it needs: Keras alone takes ten seconds.


def _data_of(model: str | Path, given: Path | None) -> Path:
    from training.run import locate_data

    return locate_data(model, given)


def _prepare(**flags) -> None:
    from training.data.prepare import prepare

    if "source" in flags:
        flags["source"] = tuple(flags["source"])
    prepare(PrepareConfig(**flags))


def _train(resume: bool, recipe: str, settings: Sequence[str], **flags) -> None:
    flags |= read_settings(settings)  # mistakes are reported before Keras is loaded
    from training.fit.train import train_recipe

    train_recipe(recipe, flags, resume=resume)


def _evaluate(
    model: str,
    data: Path | None,
    split: str = "test",
    output: Path | None = None,
    folds: int | None = None,
    backbone_weights: str | None = None,
    report: bool = False,
    **elsewhere: list[str],
) -> None:
    from training.measure.evaluate import (
        FOLDS_FOLDER,
        evaluate,
        evaluate_folds,
        exported,
        log_metrics,
    )

    if folds is not None and (report or any(elsewhere.values()) or split != "test"):
        raise UserError(
            "--folds measures all photos in turn: leave out --split, --report, --foreign and "
            "--bona-fide."
        )
    data = _data_of(model, data)
    if folds is None:
        measured = exported(model) if report or any(elsewhere.values()) else model
        figures = evaluate(measured, data, split, output, full=report, **elsewhere)
        log_metrics(figures, output or measured)
        return
    output = output or Path(model) / FOLDS_FOLDER
    figures = evaluate_folds(
        Path(model), data, folds, backbone_weights=backbone_weights, output=output
    )
    log_metrics(figures, output)


def _export(run: Path, data: Path | None, output: Path | None = None) -> None:
    from training.ship.export import export

    export(run, _data_of(run, data), output or run / "export")


def _run(resume: bool, recipe: str, settings: Sequence[str], **flags) -> None:
    from training.fit.train import is_started

    prepare_names = {field.name for field in fields(PrepareConfig)}
    prepare_flags = {name: value for name, value in flags.items() if name in prepare_names}
    if "data" in flags:
        prepare_flags["output"] = flags["data"]
    train_flags = {name: flags[name] for name in flags.keys() - (prepare_names - {"seed"})}
    config = TrainConfig(**{**RECIPES[recipe], **train_flags, **read_settings(settings)})
    # Before the data is prepared again. Where training has not started, --resume starts it.
    resume = is_started(config.run, resume)
    _prepare(**prepare_flags)
    _train(resume, recipe, settings, **train_flags)
    _evaluate(str(config.run), config.data)
    _export(config.run, config.data)


def _stress(model: Path, data: Path | None, split: str, output: Path | None) -> None:
    from training.measure.stress import stress

    stress(model, _data_of(model, data), split, output)


def _explain_test(model: Path, data: Path | None, splits: str, output: Path | None) -> None:
    from training.measure.explain import explain_test

    explain_test(model, _data_of(model, data), SPLIT_CHOICES[splits], output)


def _compare(runs: list[Path], data: Path | None, **options) -> None:
    from training.lab.compare import compare

    compare(runs, _data_of(runs[0], data), **options)


def _baselines(data: Path | None, run: Path | None, model: Path | None, **options) -> None:
    from training.lab.baselines import baselines

    baselines(_data_of(run or model or Path(), data), run=run, model=model, **options)


def _audit(data: Path, output: Path | None) -> int:
    from training.measure.audit.audit import audit, found_leak

    return int(found_leak(audit(data, output)))


def _score(engine: str, address: str | None, resume: bool, **options) -> None:
    if engine == "ray":
        if resume:
            raise UserError("--resume is not for --engine ray, which starts anew: leave it out.")
        from training.score.ray import score_on_ray

        score_on_ray(address=address, **options)
        return
    if address:
        raise UserError(f"--address {address} belongs to --engine ray: add that or leave it out.")
    from training.score.local import score

    score(resume=resume, **options)


def _push(run: Path, model_id: str, data: Path | None, **options) -> None:
    from training.ship.push import push

    if options["dataset_id"] is not None:
        data = _data_of(run, data)
    push(run, model_id, data=data, **options)


def _web(output: Path, model: Path | None) -> None:
    from training.ship.web import web

    web(output, model=model)


def _benchmark(output: Path | None, growth: bool, plot: Path | None) -> None:
    if plot and not growth:
        raise UserError(f"--plot {plot} needs --growth, which it draws.")
    from training.lab.benchmark import benchmark

    benchmark(output, growth=growth, plot=plot)


def _sources() -> None:
    from training.data.sources import list_sources

    print(list_sources())


def _lab(name: str, **options) -> None:
    from training.lab.experiments import run_experiment

    run_experiment(name, **options)


def _tables() -> None:
    from training.lab.tables import write_tables

    write_tables()


if __name__ == "__main__":
    sys.exit(main())

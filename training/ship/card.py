"""The model card: `hub_card.md` filled with the figures of a run and its export.

Its figures come from `metrics.json` (written by `measure.evaluate`), `export_report.json`
(`ship.export`), `stress.json` (`measure.stress`) and `explanation.json` (`measure.explain`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import yaml
from huggingface_hub import (
    EvalResult,
    EvalResultEntry,
    ModelCard,
    ModelCardData,
    eval_result_entries_to_yaml,
)

from space import contract
from space.contract import DetectorConfig
from training.config import read_config
from training.data.sources import Source, lookup
from training.errors import UserError
from training.measure.explanation_tables import PRIOR, SERVED
from training.measure.failures import failures
from training.measure.footprint import footprint_table
from training.measure.left_out import left_out_table
from training.measure.markdown import show, show_rate
from training.measure.promise import MAX_FAKE_CALLED_REAL, MAX_REAL_CALLED_FAKE
from training.measure.score_tables import (
    TITLES,
    VERDICT_TITLES,
    formats_table,
    kinds_table,
    metrics_table,
    sources_table,
    verdicts_table,
)
from training.measure.stress_tables import stress_table
from training.measure.tier_tables import (
    accusations_table,
    caveats,
    found_table,
    reasons_sentences,
    stability_table,
    strengths_table,
    tiers_table,
    whom_sentences,
    whom_table,
)
from training.measure.tiers import TIERS
from training.run import FACE, PHOTO, Run

TEMPLATE = Path(__file__).parents[2] / "hub_card.md"
LICENCE = "gpl-3.0"
TASK = "image-classification"
TAGS = ["deepfake-detection", "face", "efficientnet", "litert"]


def render_card(
    run: Path,
    export: Path,
    model_id: str,
    *,
    space_id: str | None = None,
    static_space_id: str | None = None,
    dataset_id: str | None = None,
    tag: str | None = None,
) -> ModelCard:
    """Return the filled card; the same figures give the same card.

    Args:
        run: folder of a finished run.
        export: the model folder that was made from it.
        model_id: the repository that the card is for.
        space_id: the repository of the page that serves the model.
        static_space_id: the repository of the page that judges in the visitor's browser.
        dataset_id: the repository with the training photos.
        tag: the revision that the card's examples name.

    Raises:
        UserError: figures that the card needs are missing.
    """
    try:
        values = _values(run, export, model_id, dataset_id)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"The figures in {run} are damaged or of another version ({error!r}): export and "
            "measure the run anew."
        ) from error
    template = jinja2.Template(
        TEMPLATE.read_text(encoding="utf-8"), undefined=jinja2.StrictUndefined
    )
    return ModelCard(
        template.render(
            model_id=model_id,
            namespace=model_id.split("/")[0],
            space_id=space_id,
            static_space_id=static_space_id,
            dataset_id=dataset_id,
            revision_argument=f', revision="{tag}"' if tag else "",
            revision_flag=f" --revision {tag}" if tag else "",
            **values,
        )
    )


def render_eval_results(export: Path, dataset_id: str) -> str:
    """Return the figures of a model as the Hub reads them from `.eval_results/*.yaml`.

    See https://huggingface.co/docs/hub/eval-results; the `model-index` of the card is older.

    Args:
        export: the model folder.
        dataset_id: the repository with the photos that it was measured on.

    Raises:
        UserError: figures are missing.
    """
    figures = _read(export / "metrics.json", "export the run")
    values = {
        name: (figures[name]["value"], f"{title}, split {figures['split']}")
        for name, title in TITLES.items()
    }
    for tier, tier_figures in figures.get("tiers", {}).items():
        accused = tier_figures["real_called_fake"]
        notes = f"real photos called fake, {TIERS[tier]}: {show_rate(accused)}"
        values[f"real_called_fake_{tier}"] = (accused["value"], notes)
    entries = [
        EvalResultEntry(dataset_id=dataset_id, task_id=name, value=round(value, 4), notes=notes)
        for name, (value, notes) in values.items()
        if value is not None
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)


def _values(run: Path, export: Path, model_id: str, dataset_id: str | None) -> dict[str, object]:
    """Return the template's values, from the files of a run and its export."""
    figures = _read(export / "metrics.json", "export the run")
    if figures["split"] != "test":
        raise UserError(
            f"{export / 'metrics.json'} holds figures of the split {figures['split']}: run "
            f"`evaluate {export}`."
        )
    config = DetectorConfig.load(export)
    _check_framing(export / "metrics.json", figures, config)
    sources = [lookup(name) for name in config.sources or figures["by_source"]]
    return {
        "card_data": _metadata(figures, sources, model_id, dataset_id).to_yaml(),
        "figures": figures,
        "sources": sources,
        **_tables(export, figures),
        **_served(figures),
        **_model(config),
        **_measured_too(export, figures, config),
        **_training(run),
        "has_face_finder": (export / contract.FINDER_FILE).is_file(),
    }


def _read(path: Path, remedy: str) -> dict:
    if not path.is_file():
        raise UserError(f"{path} is missing: {remedy} first.")
    return json.loads(path.read_text())


def _metadata(
    figures: Mapping, sources: Sequence[Source], model_id: str, dataset_id: str | None
) -> ModelCardData:
    """Return the card's YAML block, with every figure in its `model-index`."""
    values = {name: (title, figures[name]["value"]) for name, title in TITLES.items()}
    values |= {
        f"verdict_{name}": (f"verdicts: {title}", figures["verdicts"][name]["value"])
        for name, title in VERDICT_TITLES.items()
    }
    baseline = figures["majority_baseline"]
    values["majority_baseline"] = ("accuracy of always naming the more frequent label", baseline)
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=dataset_id or "imagefolder",
            dataset_name=", ".join(source.title for source in sources),
            dataset_split=figures["split"],
            metric_type=name,
            metric_name=title,
            metric_value=round(value, 4),
        )
        for name, (title, value) in values.items()
        if value is not None  # undefined, for example if the split holds no pairs
    ]
    return ModelCardData(
        license=LICENCE,
        library_name="keras",
        pipeline_tag=TASK,
        datasets=dataset_id and [dataset_id],
        tags=TAGS,
        metrics=["roc_auc", "accuracy", "brier_score"],
        model_name=model_id.split("/")[1],
        eval_results=results,
    )


def _tables(export: Path, figures: Mapping) -> dict[str, str]:
    report = _read(export / "export_report.json", "export the run")
    return {
        "metrics_table": metrics_table(figures),
        "verdicts_table": verdicts_table(figures),
        "kinds_table": kinds_table(figures),
        "sources_table": sources_table(figures),
        "formats_table": formats_table(report),
    }


def _served(figures: Mapping) -> dict[str, object]:
    """Return what was measured of the served verdicts; empty texts for older exports."""
    return {
        "accusations_table": accusations_table(figures),
        "found_table": found_table(figures),
        "tiers_table": tiers_table(figures),
        "reasons": reasons_sentences(figures),
        "strengths_table": strengths_table(figures),
        "stability_table": stability_table(figures),
        "whom_table": whom_table(figures),
        "whom": whom_sentences(figures),
        "footprint_table": footprint_table(figures),
        "left_out_table": left_out_table(figures),
        "failures": failures(figures),
        "caveats": caveats(figures),
        "prior": f"{100 * contract.PRIOR:.0f} %",
        "strengths": [(f"{least:,}", word) for least, word in contract.STRENGTHS[1:]],
    }


def _measured_too(export: Path, figures: Mapping, config: DetectorConfig) -> dict[str, object]:
    """Return the results of `stress` and `explain-test`, if they were run on this model."""
    values: dict[str, object] = {"stress_table": "", "pointing": {}}
    stress, explanation = export / "stress.json", export / "explanation.json"
    if stress.is_file():
        results = json.loads(stress.read_text())
        _check_same(stress, results["sha256"] == config.sha256 and results["split"] == "test")
        _check_framing(stress, results, config)
        values["stress_table"] = stress_table(results)
    if explanation.is_file():
        results = json.loads(explanation.read_text())
        _check_same(explanation, results["model"] == config.sha256)
        _check_framing(explanation, results, config)
        # The best kind of mask available, and how often the map points inside it.
        maps = next(iter(results["localisation"].values()), None)
        if maps:
            values["pointing"] = {
                "served": show(maps[SERVED]["pointing"]),
                "centre": show(maps[PRIOR]["pointing"]),
            }
    return values


def _check_same(path: Path, same: bool) -> None:
    if not same:
        raise UserError(f"{path} is of another model, split or data: measure anew or remove it.")


def _check_framing(path: Path, results: Mapping, config: DetectorConfig) -> None:
    """Refuse figures of whole photos for a model that judges faces, and vice versa."""
    judged = FACE if results["faces"] else PHOTO
    if judged != config.framing:
        raise UserError(
            f"{path} was measured on each {judged}, where the model judges each {config.framing}: "
            "measure it anew."
        )


def _model(config: DetectorConfig) -> dict[str, object]:
    return {
        "input_size": config.input_size,
        "crop_margin": config.crop_margin,
        "thresholds": config.thresholds,
        "max_real_called_fake": f"{100 * MAX_REAL_CALLED_FAKE:.0f} %",
        "max_fake_called_real": f"{100 * MAX_FAKE_CALLED_REAL:.0f} %",
        "calibration": config.calibration,
        "is_calibrated": config.is_calibrated,
        "second_look": config.second_look,
        "max_likelihood_ratio": config.max_likelihood_ratio,
        "trained_on": config.trained_on,
        "variant": config.variant,
        "split_note": config.metrics["test"].get("note")
        or "Fakes and the real photos that they were made from stay on one side of the split.",
    }


def _training(run: Path) -> dict[str, object]:
    config, settings = read_config(run), Run.open(run).settings
    history = (run / "history.csv").read_text().splitlines()
    return {
        "settings": settings,
        "counts": config["data"]["counts"],
        "size": config["data"]["size"],
        "epochs": len(history) - 1,
        "averaged": config.get("averaged", []),
        **_describe_origin(settings["backbone_weights"]),
    }


def _describe_origin(weights: str | Mapping[str, str]) -> dict[str, str]:
    """Return what a training started from, by the setting `backbone_weights`."""
    if isinstance(weights, Mapping) and weights["file"].endswith(".keras"):
        return {
            "backbone": (
                "the network of an earlier run, whose photos and epochs are not counted here: "
                f"`{weights['file']}`, sha256 `{weights['sha256']}`"
            ),
            "backbone_terms": "The network of the earlier run: the terms of what that began with.",
        }
    if isinstance(weights, Mapping):
        return {
            "backbone": f"the weights file `{weights['file']}`, sha256 `{weights['sha256']}`",
            "backbone_terms": "The backbone's weights file: the terms of whoever made it.",
        }
    if weights == "none":
        return {"backbone": "random weights", "backbone_terms": ""}
    return {
        "backbone": "Keras' ImageNet weights",
        "backbone_terms": (
            "ImageNet, on which Keras' weights were trained: its terms for research, see "
            "https://www.image-net.org."
        ),
    }

"""The model card: `hub_card.md` filled with what a run and its export measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from space.detector import DetectorConfig
from training.calibrate import MAX_MISTAKES
from training.config import read_config
from training.errors import UserError
from training.report import (
    TITLES,
    VERDICT_TITLES,
    formats_table,
    kinds_table,
    metrics_table,
    show,
    verdicts_table,
)
from training.sources import Source, lookup
from training.stress import stress_table

TEMPLATE = Path(__file__).parents[1] / "hub_card.md"
LICENCE = "gpl-3.0"
TASK = "image-classification"
TAGS = ["deepfake-detection", "face", "efficientnet", "litert", "grad-cam"]


def render_card(
    run: Path,
    export: Path,
    model_id: str,
    *,
    space_id: str | None = None,
    dataset_id: str | None = None,
    tag: str | None = None,
) -> ModelCard:
    """Fill the card; without new figures it comes out the same.

    Args:
        run: folder of a finished run.
        export: the model folder that was made of it.
        model_id: the repository that the card is for.
        space_id: of the page that serves the model.
        dataset_id: of the repository with the training photos.
        tag: what the card's examples name as revision.

    Raises:
        UserError: figures that the card needs are missing.
    """
    figures = _read(export / "metrics.json", "export the run")
    sources = [lookup(name) for name in figures["by_source"]]
    return ModelCard.from_template(
        _metadata(figures, sources, model_id, dataset_id),
        template_path=str(TEMPLATE),
        model_id=model_id,
        namespace=model_id.split("/")[0],
        space_id=space_id,
        dataset_id=dataset_id,
        revision_argument=f', revision="{tag}"' if tag else "",
        revision_flag=f" --revision {tag}" if tag else "",
        figures=figures,
        sources=sources,
        **_tables(export, figures),
        **_model(DetectorConfig.load(export)),
        **_training(run),
    )


def _read(path: Path, remedy: str) -> dict:
    if not path.is_file():
        raise UserError(f"{path} is missing: {remedy} first.")
    return json.loads(path.read_text())


def _metadata(
    figures: Mapping, sources: Sequence[Source], model_id: str, dataset_id: str | None
) -> ModelCardData:
    """Return the card's YAML block, with every figure in its `model-index`."""
    identifiers = [dataset_id] if dataset_id else [source.identifier for source in sources]
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
            dataset_type=identifiers[0],
            dataset_name=", ".join(source.title for source in sources),
            dataset_split=figures["split"],
            metric_type=name,
            metric_name=title,
            metric_value=round(value, 4),
        )
        for name, (title, value) in values.items()
        if value is not None  # not defined, say where the split holds no pairs
    ]
    return ModelCardData(
        license=LICENCE,
        library_name="keras",
        pipeline_tag=TASK,
        datasets=identifiers,
        tags=TAGS,
        metrics=[name for name in ("roc_auc", "accuracy", "brier_score") if name in values],
        model_name=model_id.split("/")[1],
        eval_results=results,
    )


def _tables(export: Path, figures: Mapping) -> dict[str, object]:
    stress, explanation = export / "stress.json", export / "explanation.json"
    report = _read(export / "export_report.json", "export the run")
    return {
        "metrics_table": metrics_table(figures),
        "verdicts_table": verdicts_table(figures),
        "kinds_table": kinds_table(figures),
        "formats_table": formats_table(report),
        "stress_table": stress.is_file() and stress_table(json.loads(stress.read_text())),
        "pointing": explanation.is_file() and _pointing(json.loads(explanation.read_text())),
    }


def _pointing(explanation: Mapping) -> dict[str, str]:
    """Return how often the served map and the centre of the face hit what was changed, on the best
    masks that there were."""
    masks = next(iter(explanation["localisation"].values()))
    return {
        "served": show(masks["grad_cam"]["pointing"]),
        "centre": show(masks["centre"]["pointing"]),
    }


def _model(config: DetectorConfig) -> dict[str, object]:
    return {
        "input_size": config.input_size,
        "crop_margin": config.crop_margin,
        "thresholds": config.thresholds,
        "max_mistakes": f"{MAX_MISTAKES:.0%}".replace("%", " %"),
        "calibration": config.calibration,
        "trained_on": config.trained_on,
        "variant": config.variant,
        "split_note": config.metrics["test"].get("note")
        or "Fakes and the real photos that they were made from stay on one side of the split.",
    }


def _training(run: Path) -> dict[str, object]:
    config = read_config(run)
    weights = config["settings"]["backbone_weights"]
    history = (run / "history.csv").read_text().splitlines()
    return {
        "settings": config["settings"],
        "counts": config["data"]["counts"],
        "size": config["data"]["size"],
        "epochs": len(history) - 1,
        **_describe_backbone(weights),
    }


def _describe_backbone(weights: str | Mapping[str, str]) -> dict[str, str]:
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

"""Convert a run to LiteRT: `python -m training export RUN`.

One graph computes the probabilities and the heatmap. It is written in two numeric formats. A format
that is worse than Keras on the validation split is refused, and the faster of the rest is served.
The other is kept beside it, for users who need it.
"""

from __future__ import annotations

import hashlib
import logging
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np

from space.contract import MODEL_FILE, Calibration, DetectorConfig, SecondLook
from space.detector import Detector
from training.data.rows import CROP_MARGIN, LABELS, Photo, read_report, read_split
from training.data.sources import describe_training
from training.errors import UserError
from training.fit.train import package_versions
from training.folders import check_replaceable, replaced_folder, write_json
from training.measure.answers import ORIGINAL
from training.measure.calibrate import describe_scores
from training.measure.evaluate import evaluate, log_metrics, summarise
from training.measure.figures import apply_thresholds
from training.measure.metrics import SAMPLES, mean_auc
from training.measure.promise import promise_of
from training.measure.rates import exact_bounds
from training.measure.scores import scores
from training.measure.second_look import LOOKS, give_meaning
from training.measure.served import judge_split
from training.run import EXPORT_REPORT, Run
from training.ship.face_finder import add_face_finder
from training.ship.quantize import dynamic_range, float16
from training.ship.saliency import with_heatmap
from training.ship.timing import time_in_turn

VARIANTS = "variants"
MAX_AUC_LOSS = 0.003  # on the validation split, mean over its sources, against Keras
NOTE = "The split is random: a test photo may share its source photo with a training photo."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """Measurements of one numeric format.

    Attributes:
        name: of the format.
        megabytes: size of the file.
        milliseconds: median time of one prediction on this machine, decoding left out.
        mean_auc: mean over the sources of the ROC AUC on the validation split.
        passed: whether `mean_auc` is good enough.
    """

    name: str
    megabytes: float
    milliseconds: float
    mean_auc: float
    passed: bool


def export(run: Path, data: Path, output: Path, *, samples: int = SAMPLES) -> Path:
    """Write a model folder that `space.detector.Detector` loads, and return it.

    It holds `detector.tflite`, `detector.json`, the other format in `variants/`,
    `export_report.json` (both formats with their figures), the figures of the served file on the
    test split, and the face finder for LiteRT if YuNet's file is available.

    The formats are compared on the faces that `prepare` found, as Keras sees them. Calibration,
    thresholds, second looks and figures come from faces that are found again, as on the page; for a
    run on whole photos, from whole photos. A model whose test figures do not keep the promise of
    its thresholds is still written; its description says that it is not calibrated.

    Args:
        run: folder of a finished run.
        data: the prepared folder that it was trained on.
        output: folder to write; an earlier export is replaced.
        samples: bootstrap samples for the intervals.

    Raises:
        UserError: the run is not finished, the data is not the run's, or no format passes.
    """
    check_replaceable(output, EXPORT_REPORT)
    trained = Run.open(run)
    trained.check_data(data)
    left_out = trained.settings["leave_out"]
    photos = read_split(data, "validation", left_out)
    keras_auc = _auc(photos, scores(trained, photos))
    log.info("Keras: mean validation AUC %.4f.", keras_auc)
    description = _description(trained, read_split(data, "train", left_out))
    with tempfile.TemporaryDirectory() as temporary:
        folders = _write_variants(trained, description, Path(temporary))
        variants = _measure(folders, photos, keras_auc)
        chosen = choose_variant(variants, keras_auc)
        report = {
            "data_fingerprint": trained.fingerprint,
            "keras_mean_validation_auc": keras_auc,
            "variants": [asdict(variant) for variant in variants],
        }
        contents = {folder.name: (folder / MODEL_FILE).read_bytes() for folder in folders}
    with replaced_folder(output, EXPORT_REPORT) as folder:
        _write_model(folder, contents.pop(chosen.name), chosen.name, description)
        _write_others(folder / VARIANTS, contents)
        add_face_finder(folder)
        report["second_look_share"] = _give_meaning(folder, photos)
        figures = _measure_served(folder, data, samples)
        write_json(folder / EXPORT_REPORT, report)
    log_metrics(figures, output)
    log.info("%s: %s, %.1f MB.", output / MODEL_FILE, chosen.name, chosen.megabytes)
    return output


def choose_variant(variants: list[Variant], keras_auc: float) -> Variant:
    """Return the fastest format that passed, and log why others were refused.

    Raises:
        UserError: none passed.
    """
    for variant in variants:
        if not variant.passed:
            log.info(
                "%s is refused: mean validation AUC %.4f, more than %.3f below Keras' %.4f.",
                variant.name,
                variant.mean_auc,
                MAX_AUC_LOSS,
                keras_auc,
            )
    passed = [variant for variant in variants if variant.passed]
    if not passed:
        raise UserError("No format is as good as the Keras model: train longer or another model.")
    return min(passed, key=lambda variant: variant.milliseconds)


def export_graph(model: keras.Model) -> bytes:
    """Return a Keras model with its heatmap as a float32 LiteRT graph of any batch size."""
    signature = keras.InputSpec(shape=(None, *model.input_shape[1:]), dtype="float32", name="image")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "float32.tflite"
        with_heatmap(model).export(
            path, format="litert", input_signature=[signature], verbose=False
        )
        return path.read_bytes()


def _write_variants(run: Run, description: DetectorConfig, folder: Path) -> list[Path]:
    """Write a model folder for each format and return them."""
    log.info("Converting to LiteRT; this takes a minute.")
    graph = export_graph(run.network())
    contents = {"float16": float16(graph), "dynamic-range": dynamic_range(graph)}
    for name, content in contents.items():
        (folder / name).mkdir()
        _write_model(folder / name, content, name, description)
    return [folder / name for name in contents]


def _description(run: Run, photos: list[Photo]) -> DetectorConfig:
    """Return the contract of a run, except for what depends on the model file."""
    packages = ("ai-edge-quantizer", "ai-edge-litert")
    sources = sorted({photo.source for photo in photos})
    return DetectorConfig(
        labels=list(LABELS),
        input_size=run.settings["input_size"],
        crop_margin=run.margin or CROP_MARGIN,
        thresholds={"real": 0.5, "fake": 0.5},
        calibration=Calibration(),
        metrics={},
        sha256="",
        variant="",
        trained_on=describe_training(sources),
        sources=sources,
        framing=run.framing,
        versions=package_versions() | {name: version(name) for name in packages},
    )


def _write_model(folder: Path, content: bytes, variant: str, description: DetectorConfig) -> None:
    (folder / MODEL_FILE).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    replace(description, sha256=digest, variant=variant).save(folder)


def _write_others(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, content in contents.items():
        (folder / f"{name}.tflite").write_bytes(content)


def _measure(folders: list[Path], photos: list[Photo], keras_auc: float) -> list[Variant]:
    """Run the formats on the validation split, with the code that will serve one of them."""
    detectors = [Detector(folder) for folder in folders]
    size = detectors[0].config.input_size
    sample = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    times = time_in_turn([partial(detector.predict, sample) for detector in detectors])
    aucs = [_auc(photos, scores(detector, photos)) for detector in detectors]
    return [
        Variant(
            name=folder.name,
            megabytes=(folder / MODEL_FILE).stat().st_size / 1e6,
            milliseconds=milliseconds,
            mean_auc=auc,
            passed=auc >= keras_auc - MAX_AUC_LOSS,
        )
        for folder, milliseconds, auc in zip(folders, times, aucs, strict=True)
    ]


def _give_meaning(folder: Path, photos: list[Photo]) -> float:
    """Calibrate the chosen file on the validation photos; return the share that gets a second look.

    The thresholds and the margin of the second look are chosen there too.
    """
    detector = Detector(folder)
    uncalibrated = detector.config
    first = judge_split(detector, photos, "validation", full=False)[ORIGINAL]
    detector.config = replace(uncalibrated, second_look=SecondLook(math.inf, list(LOOKS)))
    averaged = judge_split(detector, photos, "validation, second looks", full=False)[ORIGINAL]
    truth = np.array([photo.is_fake for photo in photos], dtype=int)
    groups, sources = zip(*((photo.group, photo.source) for photo in photos), strict=True)
    meaning = give_meaning(truth, first.probabilities, averaged.probabilities, groups, sources)
    thresholds, probabilities = meaning.thresholds, meaning.probabilities
    replace(
        uncalibrated,
        calibration=meaning.calibration,
        thresholds=thresholds,
        score_bins=describe_scores(truth, probabilities, sources),
        second_look=meaning.second_look,
        max_likelihood_ratio=_rarer_groups(photos),
    ).save(folder)
    share = float(meaning.looked_again.mean())
    log.info(
        "Calibration: %s. Fake from %.3f, real below %.3f. Within %.2f of them in log-odds, where "
        "%.0f %% of the photos are, a second look.",
        meaning.calibration.method,
        thresholds["fake"],
        thresholds["real"],
        meaning.second_look.margin,
        100 * share,
    )
    verdicts = np.where(first.reasons == "", apply_thresholds(probabilities, thresholds), "")
    _log_mistakes(truth, verdicts, sources)
    return share


def _rarer_groups(photos: Sequence[Photo]) -> float:
    """Return the number of groups of the label that has fewer."""
    groups = [{photo.group for photo in photos if photo.label == label} for label in LABELS]
    return float(max(1, min(map(len, groups))))


def _log_mistakes(truth: np.ndarray, verdicts: np.ndarray, sources: Sequence[str]) -> None:
    """Log each source's numbers of real called fake and fake called real, with upper bounds."""
    wrong = verdicts == np.where(truth == 0, "fake", "real")
    names = np.asarray(sources)
    for name in np.unique(names):
        for label, title in enumerate(("real called fake", "fake called real")):
            mistakes = wrong[(names == name) & (truth == label)]
            if len(mistakes):
                limit = 100 * exact_bounds(int(mistakes.sum()), len(mistakes))[1]
                log.info(
                    "%s: %d of %d %s (up to %.1f %%).",
                    name,
                    mistakes.sum(),
                    len(mistakes),
                    title,
                    limit,
                )


def _measure_served(folder: Path, data: Path, samples: int) -> dict:
    """Write the chosen file's figures into its description; return those of the test split.

    The description also says whether they keep the promise of the thresholds.
    """
    detector = Detector(folder)
    summary = {}
    for split in ("validation", "test"):
        figures = evaluate(folder, data, split, samples=samples)
        summary[split] = summarise(figures)
        if read_report(data)["group_by"] == "files":
            summary[split]["note"] = NOTE
    replace(detector.config, metrics=summary, promise=promise_of(figures)).save(folder)
    return figures


def _auc(photos: list[Photo], judged: np.ndarray) -> float:
    truth = np.array([photo.is_fake for photo in photos], dtype=int)
    return mean_auc(truth, judged, [photo.source for photo in photos])

"""Test whether the heatmap points at what was changed: `python -m training explain-test MODEL`.

The served heatmap is compared with the changed regions of fakes (`training.fit.masks`). So are maps
that know nothing: a bump in the middle of the face, noise, and the heatmap of a network with random
weights (a sanity check after Adebayo et al. 2018, https://arxiv.org/abs/1810.03292). A heatmap is
worth showing if it beats the first of these.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from tqdm import tqdm

from space.contract import CONFIG_FILE
from space.crops import crop_face
from space.detector import Detector
from space.photos import resize_square
from training.config import EVIDENCE_STEP
from training.data.rows import Photo, open_framed, read_report, read_split
from training.errors import UserError
from training.fit.masks import Target, find_targets
from training.fit.network import EVIDENCE, build_model
from training.fit.photos import PhotoBatches
from training.folders import replaced_file, write_json
from training.measure.explanation_tables import KINDS, PRIOR, SERVED, TITLES, explanation_table
from training.measure.markdown import show
from training.measure.metrics import SAMPLES, estimate
from training.measure.pointing import STEPS, centre_prior, fading_curves, localisation, paint
from training.measure.scores import load_detector, margin_of
from training.run import FACE
from training.ship.saliency import with_heatmap

RESULTS, PLOT = "explanation.json", "explanation.png"
SEED = 0
CURVE_PHOTOS = 40  # drawn at random; with eleven steps each they take most of the time

log = logging.getLogger(__name__)


def explain_test(
    model: Path,
    data: Path,
    splits: Sequence[str] = ("test",),
    output: Path | None = None,
    *,
    samples: int = SAMPLES,
) -> dict:
    """Write `explanation.json` and `explanation.png`, log the table and return the results.

    Args:
        model: folder of an exported model.
        data: folder that `prepare` wrote.
        splits: whose fakes are used.
        output: folder for the files; that of the model by default.
        samples: bootstrap samples of the intervals.

    Returns:
        JSON-serialisable; a figure with its interval is a dict of `value`, `low`, `high`.
        `masks`: the number of photos by kind; `rejected_pairs`: by reason;
        `localisation[kind][map]`: see `localisation`; `curves[map]`: see
        `training.measure.pointing.fading_curves`; `conclusion`: a sentence.

    Raises:
        UserError: there is no such model, or no fake whose changed region is known.
    """
    if not (Path(model) / CONFIG_FILE).is_file():
        raise UserError(f"{model} holds no {CONFIG_FILE}: give the folder of an exported model.")
    targets, rejected = _find_targets(data, splits)
    detector = load_detector(model)
    results = {
        "model": detector.config.sha256,
        "data_fingerprint": read_report(data)["fingerprint"],
        "splits": list(splits),
        "seed": SEED,
        "bootstrap_samples": samples,
        "faces": detector.config.framing == FACE,
        "masks": dict(Counter(target.kind for target in targets)),
        "rejected_pairs": rejected,
        **_compare(detector, targets, samples),
    }
    _write(results, Path(output or model))
    return results


def conclude(found: Mapping[str, Mapping]) -> str:
    """Return a sentence that says whether the served heatmap beats the centre.

    It does if it leads in the pointing game on the same photos, with an interval wholly above zero.
    Boxes count only if there are no pairs: they lie at mean places, which is what the centre knows.

    Args:
        found: what `localisation` returned, by kind of mask.
    """
    kind = next(kind for kind in KINDS if kind in found)
    lead = found[kind][SERVED]["lead_over_centre"]
    verb = "beats" if lead["low"] > 0 else "does not beat"
    return (
        f"The heatmap {verb} the centre of the face in the pointing game (masks: {KINDS[kind]}; "
        f"lead {show(lead)})."
    )


def _find_targets(data: Path, splits: Sequence[str]) -> tuple[list[Target], dict[str, int]]:
    photos = [photo for split in splits for photo in read_split(data, split)]
    targets, rejected = find_targets(data, photos)
    if not targets:
        raise UserError(
            f"No fake among the {' and '.join(splits)} photos of {data} has a known changed region:"
            " prepare photos with their originals, or with parts in their names."
        )
    return targets, rejected


def _framed(target: Target, margin: float) -> Target:
    """Return a target whose mask is cropped as `open_framed` crops its photo."""
    face = target.photo.found_face
    if not margin or face is None:
        return target
    picture = Image.fromarray(target.mask).convert("RGB")
    return replace(target, mask=np.asarray(crop_face(picture, face, margin))[..., 0] > 127)


def _compare(detector: Detector, whole: Sequence[Target], samples: int) -> dict:
    """Return the results about maps, on fakes cropped as the model expects them."""
    margin = margin_of(detector)
    targets = [_framed(target, margin) for target in whole]
    fakes = [target.photo for target in targets]
    served, called_fake = _served_maps(detector, fakes, margin)
    maps = _maps(served, fakes, margin, detector.config.input_size)
    by_kind = {
        kind: localisation(targets, maps, called_fake, kind, samples)
        for kind in KINDS
        if any(target.kind == kind for target in targets)
    }
    return {
        "localisation": by_kind,
        "curves": _all_curves(detector, targets, maps, margin, samples),
        "conclusion": conclude(by_kind),
    }


def _served_maps(
    detector: Detector, photos: Sequence[Photo], margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return heatmaps `[photos, rows, columns]` and which photos were called fake `[photos]`."""
    progress = tqdm(photos, desc="Explaining", unit="photo")
    predictions = [detector.predict(open_framed(photo, margin)) for photo in progress]
    heatmaps = np.stack([prediction.heatmap for prediction in predictions])
    return heatmaps, np.array([prediction.verdict == "fake" for prediction in predictions])


def _maps(
    served: np.ndarray, photos: Sequence[Photo], margin: float, side: int
) -> dict[str, np.ndarray]:
    """Return all maps of the photos `[photos, rows, columns]` by name."""
    prior = centre_prior()
    return {
        SERVED: served,
        PRIOR: np.broadcast_to(prior, (len(served), *prior.shape)),
        "random": np.random.default_rng(SEED).random(served.shape),
        "random_weights": _heatmaps(_random_network(side, served.shape[1]), photos, margin),
    }


def _random_network(side: int, rows: int) -> keras.Model:
    """Return a network with random weights whose heatmap has `rows` rows."""
    keras.utils.set_random_seed(SEED)  # the backbone takes no seed of its own
    head = EVIDENCE if rows == side // EVIDENCE_STEP else "pooled"
    return build_model(
        backbone_weights="none", trainable_layers=0, head=head, input_size=side, seed=SEED
    )


def _heatmaps(network: keras.Model, photos: Sequence[Photo], margin: float) -> np.ndarray:
    network = with_heatmap(network)
    # On CPUs TensorFlow would spend more time compiling than predicting.
    network.jit_compile = keras.config.backend() != "tensorflow"
    batches = PhotoBatches(
        photos, batch_size=16, input_size=network.input_shape[1], crop_margin=margin
    )
    return network.predict(batches)["heatmap"]


def _all_curves(
    detector: Detector,
    targets: Sequence[Target],
    maps: Mapping[str, Sequence[np.ndarray]],
    margin: float,
    samples: int,
) -> dict[str, dict]:
    """Return mean curves and the areas under them, with intervals, by map."""
    rng = np.random.default_rng(SEED)
    chosen = rng.permutation(len(targets))[:CURVE_PHOTOS]
    groups = [targets[index].photo.group for index in chosen]
    side = detector.config.input_size
    by_map: dict[str, list] = {name: [] for name in maps}
    for index in tqdm(chosen, desc="Inserting and deleting", unit="photo"):
        photo = np.asarray(resize_square(open_framed(targets[index].photo, margin), side))
        for name in maps:
            curves = fading_curves(
                lambda pixels: detector.predict(pixels).probability,
                photo,
                paint(maps[name][index], side),
                rng,
            )
            by_map[name].append(curves)
    return {name: _areas(np.array(curves), groups, samples) for name, curves in by_map.items()}


def _areas(curves: np.ndarray, groups: Sequence[str], samples: int) -> dict:
    """Return means and areas of curves `[photos, insertion and deletion, steps]`."""
    areas = np.trapezoid(curves, dx=1 / STEPS, axis=2)

    def statistics(weights: np.ndarray) -> dict[str, float]:
        insertion, deletion = np.average(areas, axis=0, weights=weights)
        return {"insertion_area": float(insertion), "deletion_area": float(deletion)}

    insertion, deletion = curves.mean(axis=0).tolist()
    return {
        "photos": len(curves),
        "insertion": insertion,
        "deletion": deletion,
        **estimate(statistics, groups, samples=samples),
    }


def _write(results: Mapping, output: Path) -> None:
    with replaced_file(output / PLOT) as partial:
        _plot(results["curves"], partial)
    write_json(output / RESULTS, results)
    log.info("%s\n%s", explanation_table(results), results["conclusion"])


def _plot(curves: Mapping[str, Mapping], path: Path) -> None:
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    shares = np.linspace(0, 1, STEPS + 1)
    for axes, way in zip(figure.subplots(1, 2), ("insertion", "deletion"), strict=True):
        for name, figures in curves.items():
            axes.plot(
                shares, figures[way], label=TITLES[name], linewidth=2 if name == SERVED else 1
            )
        axes.set(xlabel="share of pixels, most salient first", ylabel="probability of fake")
        axes.set_title(way)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=120)

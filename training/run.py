"""A folder below `runs/`: the settings, the network and the data of one training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from space.contract import CONFIG_FILE
from training.config import CONFIG, FINAL, TrainConfig, complete_settings, read_config
from training.data.rows import REPORT, read_report
from training.errors import UserError

if TYPE_CHECKING:
    import keras

FACE, PHOTO = "face", "photo"  # what is judged: the crop of a face, or the whole photo
DATA_NOTE = "data.txt"  # in a run's folder: where its data lay; not pushed
EXPORT_REPORT = "export_report.json"  # in an exported model's folder
METRICS = "metrics.json"  # in either


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        path: the run's folder.
        settings: fields of `TrainConfig`, except those that differ between machines; settings that
            are newer than the run have their defaults.
        fingerprint: fingerprint of the prepared folder that it was trained on.
    """

    path: Path
    settings: Mapping[str, object]
    fingerprint: str

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Return the run that `train` wrote into a folder.

        Raises:
            UserError: the folder is not a run's.
        """
        stored = read_config(Path(path))
        return cls(Path(path), complete_settings(stored["settings"]), stored["data"]["fingerprint"])

    @property
    def margin(self) -> float:
        """Side of the crop divided by the longer side of the face's bounding box; 0 where the
        network judges whole photos."""
        return self.settings["crop_margin"]

    @property
    def framing(self) -> str:
        """What the network judges, `"face"` or `"photo"`."""
        return FACE if self.margin else PHOTO

    @property
    def network_path(self) -> Path:
        """The file of the run's network.

        Raises:
            UserError: the training is not finished.
        """
        path = self.path / FINAL
        if not path.is_file():
            raise UserError(f"{self.path} holds no {FINAL}: finish its training first.")
        return path

    def network(self, name: str = FINAL) -> keras.Model:
        """Load the run's network.

        Args:
            name: of a file in the run's folder.

        Raises:
            UserError: the training is not finished, or the file is damaged or missing.
        """
        import keras

        path = self.network_path.with_name(name)
        try:
            return keras.models.load_model(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be loaded ({error}): train anew.") from error

    def check_data(self, data: Path) -> None:
        """Raise `UserError` if a prepared folder is not the one that the run was trained on."""
        check_data(self.path, self.fingerprint, data)


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run's; models of the Hub have a `config.json` as well."""
    return (folder / CONFIG).is_file() and not (folder / CONFIG_FILE).is_file()


def check_data(model: Path, fingerprint: str, data: Path) -> None:
    """Check that a prepared folder is the one that a model was trained on.

    Args:
        model: the run or exported model.
        fingerprint: fingerprint of the folder that it was trained on.
        data: the prepared folder to check.

    Raises:
        UserError: it has another fingerprint.
    """
    if read_report(data)["fingerprint"] != fingerprint:
        raise UserError(
            f"{data} is not the data that {model} was trained on: give its folder with --data."
        )


def remember_data(run: Path, data: Path) -> None:
    """Write into a run's folder where its data lies on this machine."""
    (run / DATA_NOTE).write_text(f"{data.resolve()}\n", encoding="utf-8")


def locate_data(model: str | Path, given: Path | None) -> Path:
    """Return a prepared folder to measure a run or an exported model with.

    Args:
        model: folder of a run or of an exported model, or the name of one on the Hub.
        given: the folder that the user chose. `None` stands for the folder that the model was
            trained on: where it lay then, or one beside the usual folder with the same fingerprint.

    Raises:
        UserError: it is in none of these places.
    """
    if given is not None:
        return given
    usual = TrainConfig.data
    try:
        fingerprint = trained_on(Path(model))
    except UserError:  # unknown: the figures will name the data that they are of
        return usual
    for folder in _likely_places(Path(model), usual):
        report = folder / REPORT
        if report.is_file() and read_report(folder)["fingerprint"] == fingerprint:
            return folder
    raise UserError(
        f"The data that {model} was trained on lies neither where it did nor below {usual.parent}: "
        "give its folder with --data."
    )


def trained_on(model: Path) -> str:
    """Return the fingerprint of the data that a run or an exported model was trained on.

    Older exports do not store it: theirs is that of the data that they were last measured on.

    Raises:
        UserError: it is unknown.
    """
    if is_run(model):
        return Run.open(model).fingerprint
    for path in (model / EXPORT_REPORT, model / METRICS):
        stored = json.loads(path.read_text()) if path.is_file() else {}
        if "data_fingerprint" in stored:
            return stored["data_fingerprint"]
    raise UserError(f"{model} does not name the data of the model: export it anew.")


def _likely_places(model: Path, usual: Path) -> Iterator[Path]:
    for run in (model, model.parent):
        if is_run(run) and (run / DATA_NOTE).is_file():
            yield Path((run / DATA_NOTE).read_text(encoding="utf-8").strip())
    yield usual
    yield from sorted(usual.parent.glob("*"))

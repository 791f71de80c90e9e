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

FACE, PHOTO = "face", "photo"  # what is judged: the crop of a face, or all of a photo
DATA_NOTE = "data.txt"  # in a run's folder, where its data lay; it is not pushed
EXPORT_REPORT = "export_report.json"  # in an exported model's folder
METRICS = "metrics.json"  # in either


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        path: its folder.
        settings: of `TrainConfig`, without those of this machine; settings that are newer than the
            run have their default.
        fingerprint: of the prepared folder that it was trained on.
    """

    path: Path
    settings: Mapping[str, object]
    fingerprint: str

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Read what `train` noted in a folder.

        Raises:
            UserError: it is no run's folder.
        """
        stored = read_config(Path(path))
        return cls(Path(path), complete_settings(stored["settings"]), stored["data"]["fingerprint"])

    @property
    def margin(self) -> float:
        """Side of the crop that it judges divided by the longer side of the face's box; 0 where it
        judges whole photos."""
        return self.settings["crop_margin"]

    @property
    def framing(self) -> str:
        """What it judges, `"face"` or `"photo"`."""
        return FACE if self.margin else PHOTO

    @property
    def network_path(self) -> Path:
        """The file of its network.

        Raises:
            UserError: the training is not finished.
        """
        path = self.path / FINAL
        if not path.is_file():
            raise UserError(f"{self.path} holds no {FINAL}: finish its training first.")
        return path

    def network(self) -> keras.Model:
        """Load its network.

        Raises:
            UserError: the training is not finished, or the file is damaged.
        """
        import keras

        path = self.network_path
        try:
            return keras.models.load_model(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be loaded ({error}): train anew.") from error

    def check_data(self, data: Path) -> None:
        """Raise `UserError` where a prepared folder is not what it was trained on."""
        check_data(self.path, self.fingerprint, data)


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run's; models of the Hub have a `config.json` as well."""
    return (folder / CONFIG).is_file() and not (folder / CONFIG_FILE).is_file()


def check_data(model: Path, fingerprint: str, data: Path) -> None:
    """Check that a prepared folder has a fingerprint.

    Args:
        model: the run or exported model that was trained on such a folder.
        fingerprint: of that folder.
        data: a prepared folder.

    Raises:
        UserError: it has another one.
    """
    if read_report(data)["fingerprint"] != fingerprint:
        raise UserError(
            f"{data} is not the data that {model} was trained on: give its folder with --data."
        )


def remember_data(run: Path, data: Path) -> None:
    """Note in a run's folder where its data lies on this machine."""
    (run / DATA_NOTE).write_text(f"{data.resolve()}\n", encoding="utf-8")


def locate_data(model: str | Path, given: Path | None) -> Path:
    """Return a prepared folder to measure a run or an exported model with.

    Args:
        model: folder of a run or of an exported model, or the name of one on the Hub.
        given: the folder that was asked for. Without it, the one that the model was trained on is
            taken: where it lay then, or a folder beside the usual one with the same fingerprint.

    Raises:
        UserError: it is in none of these places.
    """
    if given is not None:
        return given
    usual = TrainConfig.data
    try:
        fingerprint = trained_on(Path(model))
    except UserError:  # nobody knows: the figures will say what they are of
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
    """Return the fingerprint of the data that a run or an exported model was trained on; of an
    export from before that was noted, of the data that it was measured on last.

    Raises:
        UserError: it is not known.
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

import json

from training.lab.experiments import read_experiments
from training.measure.left_out import EXPERIMENT, NOT_RUN, left_out_table, read_left_out

VALUE = {"value": 0.5, "low": 0.25, "high": 0.75}


def test_results_of_the_same_photos_are_told_and_no_others(tmp_path):
    path = tmp_path / "results.json"
    assert read_left_out("same", path) == []
    foreign = {"source": "dfdc", "photos": 40, "fakes": 20, "pairs": 0}
    recipes = [
        {"figures": {"auc_dfdc": VALUE | {"value": 0.7}}},
        {"figures": {"auc_dfdc": VALUE}, "foreign": foreign | {"figures": {"auc_dfdc": VALUE}}},
    ]
    path.write_text(json.dumps({"data_fingerprint": "same", "recipes": recipes}))
    assert read_left_out("other", path) == []
    left_out = read_left_out("same", path)
    table = left_out_table({"left_out": left_out}).splitlines()
    assert table[-1] == (
        "| Deepfake Detection Challenge | 40 (20) | 0.500 (0.250 to 0.750) | "
        "0.700 (0.250 to 0.750) | 0.500 (0.250 to 0.750) |"
    )


def test_without_results_it_is_said_which_command_makes_them():
    assert left_out_table({"left_out": []}) == left_out_table({}) == NOT_RUN
    experiment = read_experiments()[EXPERIMENT]
    assert f"lab {EXPERIMENT} " in NOT_RUN
    first, *others = experiment["runs"].values()
    assert first == {}
    assert all(list(settings) == ["leave_out"] for settings in others)

import re

import pytest

from training.data.sources import KNOWN, describe_training, lookup


def test_one_source_is_described_in_full():
    text = describe_training(["real_and_fake_face"])
    assert text.startswith("photos of the dataset “real and fake face detection”, whose fakes are ")
    assert "not AI-generated" in text


def test_several_sources_are_one_short_sentence_part_that_names_each_kind():
    names = ["dfdc", "hardfakevsreal", "real_and_fake_face", "stylegan_ffhq"]
    text = describe_training([*names, "web", "unsplash"])  # the last two have no fakes
    assert text.startswith(
        "photos of 6 datasets (2 of them of real photos alone), whose fakes are "
    )
    for name in names:
        assert f"{lookup(name).fakes_in_short} (“{lookup(name).title}”)" in text
    assert len(text) < 300
    assert not re.search(r"[;.]", text)  # the page and the card continue the sentence


def test_a_title_that_says_no_more_than_its_fakes_is_left_out():
    text = describe_training(["latent", "sd15", "dfdc"])
    assert text == (
        "photos of 3 datasets, whose fakes are photos through a latent autoencoder, portraits by "
        "Stable Diffusion 1 and face swaps in videos (“Deepfake Detection Challenge”)"
    )


def test_unknown_source_beside_a_known_one_says_so():
    text = describe_training(["mine", "dfdc"])
    assert "of an unrecorded kind (“mine”) and face swaps" in text
    assert "not recorded" in lookup("mine").terms


@pytest.mark.parametrize("name", KNOWN)
def test_known_sources_fill_the_cards(name):
    source = lookup(name)
    assert source.url == "" or source.url.startswith("https://")
    assert source.where == "" or source.where.startswith(("kaggle:", "hf:"))
    assert bool(source.fakes) == bool(source.fakes_in_short) == ("fake" in source.labels)
    assert source.terms.endswith(".")  # a sentence; the others are parts of one
    assert not source.fakes.endswith(".")
    assert source.citation.count("{") == source.citation.count("}")

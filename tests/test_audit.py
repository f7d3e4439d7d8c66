"""The audit of a data set, on images where its result is known."""

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter

from nbutils.data import audit, datasets


def textured(seed):
    """A 200 x 260 surface with detail of its own."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(200, 260)), 4)
    return (128 + 40 * field / field.std()).clip(0, 255).astype(np.uint8)


def index_of(tmp_path, images):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
    for name, gray in images.items():
        Image.fromarray(gray).save(tmp_path / f"{name}.png")
    return datasets.index_images(tmp_path)


def test_near_duplicates_are_found_though_shifted_and_relit(tmp_path):
    strip = textured(0)
    relit = (0.6 * strip[:, 30:230] + np.linspace(0, 60, 200)).astype(np.uint8)
    images = {"a/1": strip[:, :200], "a/2": relit, "a/3": textured(1)[:, :200]}
    images["b/1"] = textured(2)[:, :200]
    table = index_of(tmp_path, images)
    _, thumbnails = audit.measure_texture(table)
    pairs = audit.near_duplicates(table, thumbnails)
    assert pairs[["a", "b"]].to_numpy().tolist() == [[0, 1]]
    part = pd.Series(["train", "test", "test", "test"])
    assert len(audit.across(pairs, part)) == 1
    assert len(audit.across(pairs, part.replace("train", "test"))) == 0


def test_texture_measures(tmp_path):
    flat = np.full((50, 50), 90, np.uint8)
    stripes = np.tile(np.array([50, 150], np.uint8), (50, 25))
    measures, thumbnails = audit.measure_texture(index_of(tmp_path, {"a/1": flat, "b/1": stripes}))
    assert measures["mean"].tolist() == [90, 100]
    assert measures["contrast"].tolist() == [0, 50]
    assert measures["roughness"].tolist() == [0, 1]  # neighbours differ by 100 across, 0 down
    assert thumbnails.shape == (2, 50, 50)


def test_audit_counts(table):
    part = pd.Series("train", table.index)
    part[::2] = "test"
    copy = table.copy()
    copy.attrs = {"skipped": {"x.png": "x.png is empty"}}
    copy.at[1, "sha256"] = copy.at[0, "sha256"]
    copy.at[2, "boxes"] = [*copy.at[2, "boxes"], ("patches", 1, 1, 9, 9)]
    copy.at[3, "boxes"] = []
    pairs = pd.DataFrame({"a": [0, 0], "b": [1, 2], "correlation": [1, 0.9]})
    facts = audit.summarize(copy, part, pairs)
    assert facts["images"] == 72
    assert facts["identical"] == [copy["path"][:2].tolist()]
    assert facts["second_class_by_class"] == {"crazing": 1}
    assert facts["without_box"] == 1
    assert facts["skipped"] == {"x.png": "x.png is empty"}
    assert facts["near_duplicates_across_parts"] == 1
    assert facts["images_by_part"] == {"test": 36, "train": 36}

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
    assert measures["brightness"].tolist() == [90, 100]
    assert measures["contrast"].tolist() == [0, 50]
    assert measures["sharpness"].tolist() == [0, 2]  # neighbours differ by 100 across, 0 down
    assert measures["border"].tolist() == [90, 100]
    assert thumbnails.shape == (2, 50, 50)


def test_audit_counts(table):
    part = pd.Series("train", table.index)
    part[::2] = "test"
    copy = table.copy()
    clipped = {"clipped to their image": {"a.xml": 2}}
    copy.attrs = {
        "normal_classes": [],
        "bit_depth": 12,
        "skipped": {"x.png": "x.png is empty"},
        "notes": [],
        "boxes": clipped,
    }
    copy.at[1, "sha256"] = copy.at[0, "sha256"]
    copy.at[2, "boxes"] = [*copy.at[2, "boxes"], ("patches", 1, 1, 9, 9)]
    copy.at[3, "boxes"] = []
    pairs = pd.DataFrame({"a": [0, 0], "b": [1, 2], "correlation": [1, 0.9]})
    facts = audit.summarize(copy, part, pairs)
    assert facts["images"] == 72
    assert facts["bit_depth"] == 12
    assert facts["identical"] == [copy["path"][:2].tolist()]
    assert facts["second_class_by_class"] == {"crazing": 1}
    assert facts["without_box"] == 1
    assert facts["boxes"] == clipped
    assert facts["skipped"] == {"x.png": "x.png is empty"}
    assert facts["near_duplicates_across_parts"] == 1
    assert facts["images_by_part"] == {"test": 36, "train": 36}


def test_identical_pixels_are_found_across_classes_and_on_flat_images(tmp_path):
    images = {"a/1": textured(0), "b/1": textured(0)}
    images |= {"a/2": np.full((50, 50), 90, np.uint8), "a/3": np.full((50, 50), 90, np.uint8)}
    table = index_of(tmp_path, images)
    pairs = audit.near_duplicates(table, audit.measure_texture(table)[1])
    assert set(zip(pairs["a"], pairs["b"], strict=True)) == {(0, 3), (1, 2)}
    assert (pairs["correlation"] == 1).all()


def test_the_bound_holds_for_every_pair():
    thumbnails = np.stack([textured(seed)[:50, :50] for seed in range(8)])
    spectra = audit._spectra(thumbnails)
    amplitudes = audit._amplitudes(spectra)
    for one in range(8):
        correlations = audit._correlate(spectra, one, range(8))
        assert (correlations <= amplitudes @ amplitudes[one] + 1e-5).all()
        assert np.isclose(correlations[one], 1, atol=1e-4)


def test_sequential_are_the_classes_whose_neighbours_look_alike():
    rng = np.random.default_rng(0)
    strips = [gaussian_filter(rng.normal(size=(50, 50)), 1.5) for _ in range(8)]
    strips = [strip / strip.std() for strip in strips]
    noises = [gaussian_filter(rng.normal(size=(50, 50)), 1.5) for _ in range(80)]
    noises = [noise / noise.std() for noise in noises]
    grays = [strips[i // 10] + 1.5 * noises[i] for i in range(80)]
    thumbnails = np.stack([(128 + 25 * gray).clip(0, 255).astype(np.uint8) for gray in grays])
    table = pd.DataFrame({"label": "a", "number": range(80), "sha256": range(80)})
    pairs = audit.near_duplicates(table, thumbnails)
    assert audit.sequential_classes(table, thumbnails, pairs) == ["a"]
    mixed = table.assign(number=rng.permutation(80))
    assert audit.sequential_classes(mixed, thumbnails, pairs) == []


def test_odd_images_are_far_from_their_class():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 40)
    features = rng.normal(size=(80, 60)) + 3 * y[:, np.newaxis]
    features[7] += 6
    distances = audit.distances_to_class(features, y)
    assert distances.argmax() == 7
    assert np.isclose(distances.mean(), 1)


def test_thirty_tiny_classes_are_counted_and_not_all_named(table):
    rows = pd.concat([table.head(1)] * 30, ignore_index=True)
    rows = rows.assign(label=[f"class_{number:02}" for number in range(30)], sha256=range(30))
    measures = pd.DataFrame({"clipped": 0.0}, rows.index)
    pairs = pd.DataFrame({"a": [], "b": []})
    [line] = audit.findings(rows, pd.Series("train", rows.index), pairs, measures)
    assert line.endswith("class_03 (1), class_04 (1) and 25 more; add images")


def test_findings_name_what_to_mend_the_worst_first(table):
    table = table.copy()
    measures = pd.DataFrame({"clipped": 0.0}, table.index)
    part = pd.Series("train", table.index)
    part[::2] = "test"
    table.at[70, "sha256"] = table.at[0, "sha256"]
    table.at[5, "width"] = 900
    measures.at[3, "clipped"] = 0.4
    pairs = pd.DataFrame({"a": [0], "b": [1]})
    suspects = pd.DataFrame({"score": [0.01, 0.9], "is_issue": [True, False]}, index=[4, 6])
    shortcuts = pd.DataFrame({"sentence": ["all 9 PNG files are of a"]})
    distances = np.linspace(0.9, 1.1, len(table))
    distances[9] = 5
    lines = audit.findings(table, part, pairs, measures, suspects, shortcuts, distances)
    beginnings = [
        "2 images have a copy in another class",
        "1 pairs of near-duplicates",
        "1 labels may be wrong, look at crazing/",
        "all 9 PNG files",
        "tiny classes, whose results will vary much: crazing (12)",
        "1 images have over 10% pure black or white",
        "sizes are mixed",
        "1 images look unlike",
    ]
    assert len(lines) == len(beginnings)
    assert all(map(str.startswith, lines, beginnings))


def test_a_clean_data_set_has_no_findings():
    table = pd.DataFrame({"label": ["a", "b"] * 20, "sha256": range(40), "width": 9, "height": 9})
    none = pd.DataFrame({"a": [], "b": []}, dtype=int)
    measures = pd.DataFrame({"clipped": 0.0}, table.index)
    assert audit.findings(table, pd.Series("train", table.index), none, measures) == []

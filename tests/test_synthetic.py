"""The SYNTHETIC stand-in."""

from pathlib import Path

import numpy as np
import pytest

from nbutils.data import synthetic
from nbutils.data.labels import NEU_CLASSES
from nbutils.disk import UserError


def test_classes_are_those_of_neu_det():
    assert tuple(synthetic.DRAWERS) == NEU_CLASSES


@pytest.mark.parametrize("label", NEU_CLASSES)
def test_images_have_a_size_and_boxes_around_their_defects(label):
    for seed in range(5):
        gray, boxes = synthetic.draw(label, np.random.default_rng(seed))
        assert gray.shape == (200, 200)
        assert gray.std() > 3
        assert boxes
        for left, top, right, bottom in boxes:
            assert 0 < left < right < 200
            assert 0 < top < bottom < 200


def test_images_depend_on_the_seed_alone(tmp_path):
    folders = [tmp_path / name for name in ("few", "more", "other")]
    synthetic.write_dataset(folders[0], per_class=1)
    synthetic.write_dataset(folders[1], per_class=2)
    synthetic.write_dataset(folders[2], per_class=1, seed=1)
    few, more, other = ((f / "IMAGES" / "patches_1.jpg").read_bytes() for f in folders)
    assert few == more != other


def test_stand_in_is_labelled_and_drawn_once(tmp_path):
    folder = tmp_path / "drawn"
    folder.mkdir()
    assert not synthetic.is_synthetic(folder)
    synthetic.write_dataset(folder, per_class=1)
    assert "SYNTHETIC" in (folder / "SYNTHETIC.txt").read_text()
    (folder / "IMAGES" / "patches_1.jpg").unlink()
    synthetic.write_dataset(folder, per_class=1)
    assert not (folder / "IMAGES" / "patches_1.jpg").exists()


def test_a_disk_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="stand_in"):
        synthetic.write_dataset(tmp_path / "stand_in", per_class=1)

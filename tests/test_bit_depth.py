"""Sixteen bits in a file: what its tags, its values and the user say of the camera."""

import io
import json
import struct
import zlib

import folders
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from typer.testing import CliRunner

from nbutils import cli, runs
from nbutils.apps.session import Session
from nbutils.data import bit_depth, datasets
from nbutils.data.images import ImageError, common_bit_depth, decode
from nbutils.disk import UserError
from nbutils.inference.predictor import load_predictor


def encode(values, kind="PNG", tags=None):
    file, options = io.BytesIO(), {}
    if tags:
        options["tiffinfo"] = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in tags.items():
            options["tiffinfo"][tag] = value
    Image.fromarray(values).save(file, kind, **options)
    return file.getvalue()


def chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png(values, colour, *extra):
    """A PNG file of 16 bits a sample, which Pillow does not write for colours."""
    rows, columns = values.shape[:2]
    lines = values.astype(">u2").reshape(rows, -1).view(np.uint8)
    lines = np.hstack([np.zeros((rows, 1), np.uint8), lines])
    header = struct.pack(">IIBBBBB", columns, rows, 16, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(lines.tobytes()))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@pytest.fixture
def deep(gray):
    """What a camera of some bits gives of the gray values, in 16."""
    return lambda bits: (gray * ((2**bits - 1) / 255)).round().astype(np.uint16)


def close(decoded, gray):
    return np.abs(decoded.astype(int) - gray).max() <= 1


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_one_file_of_fewer_bits_has_no_single_reading(bits, deep, gray):
    for kind in ("PNG", "TIFF"):
        with pytest.raises(ImageError, match=r"^a.png has 16 bits .* BIT_DEPTH"):
            decode(encode(deep(bits), kind), "a.png")
        assert close(decode(encode(deep(bits), kind), bits=bits), gray)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_bright_pixels_of_a_sensor_decide_nothing(bits, deep, gray):
    values = deep(bits)
    values[5, 7] = 65535
    with pytest.raises(ImageError, match="BIT_DEPTH"):
        decode(encode(values))
    decoded = decode(encode(values), bits=bits)
    assert decoded[5, 7] == 255
    assert close(np.delete(decoded, 5, axis=0), np.delete(gray, 5, axis=0))


def test_tags_of_tiff_are_heeded(deep, gray):
    assert close(decode(encode(deep(12), "TIFF", {281: 4095})), gray)
    assert close(decode(encode(deep(16), "TIFF", {281: 4095})), gray)  # the values say otherwise
    with pytest.raises(ImageError, match="BIT_DEPTH"):  # the largest value, no full scale
        decode(encode(deep(12), "TIFF", {281: int(deep(12).max())}))


def test_white_may_be_zero(deep, gray):
    assert close(decode(encode(deep(16), "TIFF", {262: 0})), 255 - gray)
    assert close(decode(encode(deep(12), "TIFF", {262: 0, 281: 4095})), 255 - gray)
    assert close(decode(encode(gray, "TIFF", {262: 0})), gray)  # which Pillow has inverted


def test_bytes_may_be_in_either_order(deep, gray):
    values = deep(16)
    assert close(decode(encode(values.astype(">u2"), "TIFF")), gray)
    assert close(decode(encode(values.astype("<u2"), "TIFF")), gray)


def test_significant_bits_of_png_are_heeded(deep, gray):
    twelve = chunk(b"sBIT", b"\x0c")
    assert close(decode(png(deep(12), 0, twelve)), gray)
    assert close(decode(png(deep(16), 0, twelve)), gray)  # as the standard wants it: scaled up


def test_a_dark_png_that_was_scaled_up_stays_dark(gray):
    scaled = (gray // 20).astype(np.uint16) << 8
    scaled |= (gray % 16).astype(np.uint16) << 4  # 12 bits, in the upper ones of 16
    decoded = decode(png(scaled, 0, chunk(b"sBIT", b"\x0c")))
    assert close(decoded, scaled // 257)


def test_stretched_values_are_16_bits_however_dark(gray):
    dark = gray // 4
    assert np.array_equal(decode(encode(dark.astype(np.uint16) * 257)), dark)


@pytest.mark.parametrize("colour", [2, 4, 6])
def test_colours_of_16_bits_are_full_or_refused(colour, deep, gray):
    def file(values):
        channels = [values] * (1 if colour == 4 else 3)
        alpha = [np.full_like(values, 65535)] if colour != 2 else []
        return png(np.dstack(channels + alpha), colour)

    assert close(decode(file(deep(16))), gray)
    for bits in (None, 12):
        with pytest.raises(ImageError, match="16 bits a colour"):
            decode(file(deep(12)), bits=bits)


def test_a_transparent_value_of_16_bits_is_noticed(deep):
    values = deep(16)
    key = chunk(b"tRNS", struct.pack(">H", values[3, 3]))
    with pytest.raises(ImageError, match="partly transparent"):
        decode(png(values, 0, key))


def test_a_wrong_bit_depth_is_an_error(deep):
    with pytest.raises(ImageError, match="too few"):
        decode(encode(deep(16)), bits=12)
    with pytest.raises(UserError, match="bit depth 7 is none"):
        bit_depth.check(7)


@pytest.fixture
def camera(tmp_path, deep):
    """Two classes of images of a camera of 12 bits, and one bright pixel."""
    for number in range(12):
        values = deep(12) - number
        values[deep(12) < number] = 0
        values[number, number] = 65535
        folder = tmp_path / "camera" / ("dark", "bright")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(encode(values))
    return tmp_path / "camera"


def test_a_set_has_the_bit_depth_of_its_camera(camera, gray):
    paths = sorted(map(str, camera.rglob("*.png")))
    assert common_bit_depth(paths) == 12
    assert common_bit_depth(paths[:3]) is None
    table = datasets.index_images(camera)
    assert len(table) == 12
    assert "16-bit files are read as of 12 bits" in table.attrs["layout"]
    assert table.attrs["bit_depth"] == 12
    images = datasets.read_originals(table)
    assert abs(images[0].mean() - gray.mean()) < 2


def test_dark_images_of_a_set_of_16_bits_stay_dark(camera, deep):
    (camera / "bright" / "full.png").write_bytes(encode(deep(16)))
    assert common_bit_depth(sorted(map(str, camera.rglob("*.png")))) == 16


def test_a_given_bit_depth_overrules_the_set(camera):
    table = datasets.index_images(camera, bits=14)
    assert "16-bit files" not in table.attrs["layout"]
    assert max(np.median(image) for image in datasets.read_originals(table)) < 64


def test_a_model_reads_files_as_those_of_its_training(camera, tmp_path, outputs):
    model = folders.copy_model(runs.find_model(f"{runs.REFERENCE}/mobilenet_v2"), tmp_path / "m")
    one = camera / "bright" / "1.png"
    with pytest.raises(ImageError, match="BIT_DEPTH"):
        load_predictor(model).predict([one.read_bytes()])
    card = runs.read_json(model / runs.MODEL_CARD)
    (model / runs.MODEL_CARD).write_text(json.dumps(card | {"bit_depth": 14}))
    predictor = load_predictor(model)
    [expected] = predictor.predict([one.read_bytes()])
    entry = Session(predictor).predict("1.png", one.read_bytes())
    assert entry.prediction.novelty == expected.novelty
    asked = [str(camera), "--model", str(model)]  # without a model's, it would be 12 bits
    done = CliRunner().invoke(cli.app, ["predict", *asked, "--json"])
    assert "12 bits" not in done.stderr
    rows = {row["path"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows[str(one)]["novelty"] == pytest.approx(expected.novelty)
    CliRunner().invoke(cli.app, ["inspect", *asked, "--workers", "1"])
    facts = runs.read_json(outputs / "inspection_camera" / runs.INSPECTION)
    assert facts["bit_depth"] == facts["read_as_bits"] == 14


def test_an_inspection_that_grows_reads_all_files_alike(camera, deep, outputs):
    asked = ["inspect", str(camera), "--model", f"{runs.REFERENCE}/mobilenet_v2", "--workers", "1"]
    CliRunner().invoke(cli.app, asked)
    file = outputs / "inspection_camera" / runs.INSPECTION
    assert runs.read_json(file)["read_as_bits"] == 12
    for number in range(12):
        (camera / "bright" / f"other_{number}.png").write_bytes(encode(deep(14)))
    done = CliRunner().invoke(cli.app, asked)
    assert runs.read_json(file)["read_as_bits"] == 12
    assert "12 files could not be read" in done.stdout, "their values need more bits"

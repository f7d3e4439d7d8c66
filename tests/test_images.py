"""Every kind of image file that a user may give: the right gray values, or an error."""

import io
import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from nbutils.data.images import (
    ImageError,
    decode,
    image_size,
    pixel_hash,
    read_file,
    resize,
    symmetries,
)


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb():
    """A PNG that claims 30,000 x 30,000 pixels, without the pixels."""
    data = bytearray(encode(Image.new("L", (20, 20))))
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    from zlib import crc32

    data[29:33] = crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def rgba(gray, alpha):
    image = Image.fromarray(gray).convert("RGBA")
    image.putalpha(alpha)
    return encode(image)


def palette_with_transparency(gray):
    return encode(Image.fromarray(gray).convert("P"), transparency=int(gray[0, 0]))


VALID = {
    "gray PNG": lambda g: encode(Image.fromarray(g)),
    "gray BMP": lambda g: encode(Image.fromarray(g), "BMP"),
    "gray TIFF": lambda g: encode(Image.fromarray(g), "TIFF"),
    "RGB PNG": lambda g: encode(Image.fromarray(g).convert("RGB")),
    "opaque RGBA": lambda g: rgba(g, 255),
    "gray with opaque alpha": lambda g: encode(Image.fromarray(g).convert("LA")),
    "palette": lambda g: encode(Image.fromarray(g).convert("P")),
    "16-bit PNG": lambda g: encode(Image.fromarray(g.astype(np.uint16) * 257)),
    "16-bit TIFF": lambda g: encode(Image.fromarray(g.astype(np.uint16) * 257), "TIFF"),
}


@pytest.mark.parametrize("kind", VALID)
def test_lossless_kinds_give_the_same_gray_values(kind, gray):
    decoded = decode(VALID[kind](gray))
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - gray).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_gives_nearly_the_same_gray_values(mode, gray):
    decoded = decode(encode(Image.fromarray(gray).convert(mode), "JPEG", quality=95))
    assert np.abs(decoded.astype(int) - gray).mean() < 3


def test_exif_orientation_is_applied(gray):
    turned = Image.fromarray(gray).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.array_equal(decode(encode(turned, exif=exif)), gray)


INVALID = {
    "empty": (lambda g: b"", "empty"),
    "text": (lambda g: b"hello, world", "not a readable image"),
    "GIF": (lambda g: encode(Image.fromarray(g), "GIF"), "not a readable image"),
    "truncated PNG": (lambda g: encode(Image.fromarray(g))[:-60], "damaged"),
    "truncated JPEG": (lambda g: encode(Image.fromarray(g), "JPEG")[:400], "damaged"),
    "header only": (lambda g: encode(Image.fromarray(g))[:20], "damaged"),
    "1 x 1": (lambda g: encode(Image.new("L", (1, 1))), "too small"),
    "bomb": (lambda g: bomb(), "million pixels"),
    "half transparent": (lambda g: rgba(g, 128), "transparent"),
    "transparent palette": (palette_with_transparency, "transparent"),
    "animated": (
        lambda g: encode(
            Image.fromarray(g), save_all=True, append_images=[Image.fromarray(255 - g)]
        ),
        "2 frames",
    ),
    "pages": (
        lambda g: encode(
            Image.fromarray(g), "TIFF", save_all=True, append_images=[Image.fromarray(g)]
        ),
        "several pages",
    ),
    "12 bits in 16": (lambda g: encode(Image.fromarray(g.astype(np.uint16) * 16)), "BIT_DEPTH"),
    "float": (lambda g: encode(Image.fromarray(g.astype(np.float32)), "TIFF"), "32 bits"),
}


@pytest.mark.parametrize("kind", INVALID)
def test_invalid_files_are_named_with_a_cure(kind, gray):
    make, message = INVALID[kind]
    with pytest.raises(ImageError, match=message) as caught:
        decode(make(gray), "strip_7.png")
    assert str(caught.value).startswith("strip_7.png")
    assert ":" in str(caught.value), "a cure follows the colon"


def test_too_many_bytes(monkeypatch, gray):
    monkeypatch.setattr("nbutils.data.images.MAX_BYTES", 10)
    with pytest.raises(ImageError, match="MB"):
        decode(encode(Image.fromarray(gray)), "large.png")


def test_resize_keeps_uniform_values_and_gives_a_square():
    assert (resize(np.full((30, 70), 77, np.uint8), 16) == 77).all()
    assert resize(np.eye(64, dtype=np.uint8) * 255, 32).shape == (32, 32, 1)


def test_hash_depends_on_the_shape():
    flat = np.zeros((4, 9), np.uint8)
    assert pixel_hash(flat) != pixel_hash(flat.reshape(9, 4))
    assert pixel_hash(flat) == pixel_hash(flat.copy())


def test_symmetries_are_the_eight_of_the_square_the_identity_first():
    images = np.arange(18, dtype=np.uint8).reshape(2, 3, 3, 1)
    views = symmetries(images)
    assert views.shape == (8, *images.shape)
    assert np.array_equal(views[0], images)
    for image, of_image in zip(images[..., 0], np.moveaxis(views[..., 0], 1, 0), strict=True):
        expected = [np.rot90(flipped, turns) for flipped in (image, image.T) for turns in range(4)]
        assert {view.tobytes() for view in of_image} == {view.tobytes() for view in expected}


def test_the_bytes_of_a_file_are_not_kept_beside_its_picture():
    tracemalloc.start()
    data = [encode(Image.new("L", (4000, 5000), 7), "TIFF")]
    tracemalloc.reset_peak()
    gray = decode(data.pop())
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (gray == 7).all()
    assert most < 1.8 * gray.size, "the result and a band of it, without the file"


def test_no_other_error_than_one_of_the_image_leaves_the_decoder(monkeypatch, gray):
    data = encode(Image.fromarray(gray))
    for kind in (TypeError, AssertionError, OverflowError, MemoryError, RecursionError):

        def fail(*args, kind=kind, **kwargs):
            raise kind("within Pillow")

        monkeypatch.setattr(Image.Image, "load", fail)
        with pytest.raises(ImageError, match=r"^strip_7.png is damaged"):
            decode(data, "strip_7.png")


@pytest.fixture
def odd_files(tmp_path):
    """Names that no image can be read by."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(40 * 2**30)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pipe.png", "no regular file"),
        ("folder.png", "no regular file"),
        ("zero.png", "no regular file"),
        ("sparse.png", "MB"),
        ("gone.png", "is missing"),
        ("none.png", "is missing"),
        ("nul\0.png", "no name of a file"),
        ("x" * 300 + ".png", "File name too long"),
    ],
)
def test_what_is_no_image_file_is_refused_before_it_is_opened(odd_files, name, message):
    with pytest.raises(ImageError, match=message) as caught:
        read_file(odd_files / name)
    assert "odd" in str(caught.value) or name[:20] in str(caught.value) or "nul" in name
    assert ":" in str(caught.value), "a cure follows the colon"
    assert image_size(odd_files / name) is None

"""Image files that claim more than they hold, or that would take long to decode."""

import io
import re
import struct
import time
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from nbutils.data import containers
from nbutils.data.images import ImageError, decode


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png_with(image, *chunks):
    """Put chunks between the header of a PNG file and its picture."""
    data = encode(image)
    return data[:33] + b"".join(chunks) + data[33:]


def png_of(image, pixels):
    """A PNG file with the header of an image, and other pixels."""
    return encode(image)[:33] + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def jpeg_with(image, segment, count):
    data = encode(image, "JPEG")
    return data[:2] + segment * count + data[2:]


def jpeg_of_scans(image, count):
    data = encode(image, "JPEG", progressive=True)
    last, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[last:end] * count + data[end:]


def tiff_of_pages(image, count):
    data = encode(image, "TIFF")
    (first,) = struct.unpack_from("<L", data, 4)
    (tags,) = struct.unpack_from("<H", data, first)
    page = data[first : first + 2 + 12 * tags]
    places = [len(data) + number * (len(page) + 4) for number in range(1, count)]
    pages = b"".join(page + struct.pack("<L", place) for place in [*places, 0])
    return data[:4] + struct.pack("<L", len(data)) + data[8:] + pages


def changed_tiff(image, tag, value, **options):
    """A TIFF file with another value, or another count, of a tag."""
    data = bytearray(encode(image, "TIFF", **options))
    (first,) = struct.unpack_from("<L", data, 4)
    for place in range(first + 2, len(data) - 12, 12):
        if struct.unpack_from("<H", data, place)[0] == tag:
            data[place + 4 : place + 12] = value(*struct.unpack_from("<LL", data, place + 4))
            return bytes(data)
    raise AssertionError(tag)


EXIF = b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)
PROFILE = b"\xff\xe2\xff\xff" + bytes(65533)
SLOW = {
    "scans": (lambda i: jpeg_of_scans(i, 10_000), "over 100 scans"),
    "pages": (lambda i: tiff_of_pages(i, 100_001), "several pages"),
    "EXIF segments": (lambda i: jpeg_with(i, EXIF, 3), "EXIF"),
    "profiles": (lambda i: jpeg_with(i, PROFILE, 300), "beside the picture"),
    "comments": (lambda i: jpeg_with(i, b"\xff\xfe\0\2", 200_000), "segments"),
    "padding": (lambda i: jpeg_with(i, b"\xff", 10_000_000), "segments"),
    "stuffing": (lambda i: encode(i, "JPEG")[:-2] + b"\xff\0" * 9_000_000 + b"\xff\xd9", "beside"),
    "chunks": (lambda i: png_with(i, chunk(b"IDAT", b"") * 100_000), "chunks"),
    "text": (
        lambda i: png_with(i, chunk(b"tEXt", b"k\0" + bytes(2**24 + 1))),
        "beside the picture",
    ),
    "text that inflates": (
        lambda i: png_with(i, chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(10**7)))),
        "damaged",
    ),
    "a profile that inflates": (
        lambda i: png_with(i, chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(10**7)))),
        "damaged",
    ),
    "pixels that inflate": (lambda i: png_of(i, bytes(10**7)), "damaged"),
    "values of a tag": (
        lambda i: changed_tiff(i, 273, lambda count, value: struct.pack("<LL", 2**31, 8)),
        "values in a tag",
    ),
}


@pytest.mark.parametrize("kind", SLOW)
def test_what_would_take_long_is_refused_at_once(kind, gray):
    make, message = SLOW[kind]
    data = make(Image.fromarray(gray))
    start = time.process_time()
    with pytest.raises(ImageError, match=message):
        decode(data)
    assert time.process_time() - start < 2


HALF = {
    "PNG rows": lambda i: png_of(i, bytes(65 * 30)),
    "PNG end": lambda i: encode(i)[:-12],
    "JPEG end": lambda i: encode(i, "JPEG")[:-2],
    "BMP rows": lambda i: encode(i, "BMP")[:-64],
    "TIFF rows": lambda i: changed_tiff(i, 279, lambda count, value: struct.pack("<LL", 1, 1000)),
    "TIFF strips": lambda i: changed_tiff(
        i, 278, lambda count, value: struct.pack("<LL", 1, 8), compression="tiff_lzw"
    ),
    "TIFF strip outside": lambda i: changed_tiff(
        i, 273, lambda count, value: struct.pack("<LL", 1, 10**6), compression="tiff_lzw"
    ),
}


@pytest.mark.parametrize("kind", HALF)
def test_half_a_picture_is_an_error(kind, gray):
    with pytest.raises(ImageError, match="damaged"):
        decode(HALF[kind](Image.fromarray(gray)))


def test_an_interlaced_picture_is_whole(gray):
    """A PNG file in the seven passes of Adam7, which Pillow reads and does not write."""
    lines = b""
    for left, top, step_x, step_y in containers.ADAM7:
        for row in gray[top::step_y, left::step_x]:
            lines += b"\0" + row.tobytes()
    header = struct.pack(">IIBBBBB", 64, 48, 8, 0, 0, 0, 1)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    whole = start + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    assert np.array_equal(decode(whole), gray)
    half = start + chunk(b"IDAT", zlib.compress(lines[:-100])) + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="ends early"):
        decode(half)


def test_ordinary_progressive_files_and_profiles_are_read(gray):
    image = Image.fromarray(gray)
    plain = decode(encode(image, "JPEG", quality=95))
    progressive = decode(encode(image, "JPEG", quality=95, progressive=True))
    assert np.array_equal(plain, progressive)
    assert decode(jpeg_with(image, PROFILE, 10)).shape == gray.shape


@pytest.mark.parametrize(("mode", "subsampling"), [("L", 0), ("RGB", 0), ("RGB", 2), ("CMYK", 0)])
def test_progressive_files_that_were_cut_and_closed_again_are_refused(gray, mode, subsampling):
    image = Image.fromarray(gray).convert(mode)
    data = encode(image, "JPEG", progressive=True, subsampling=subsampling)
    assert decode(data).shape == gray.shape
    for length in range(len(data) // 3, len(data) - 3, 7):
        with pytest.raises(ImageError, match="ends early"):
            decode(data[:length] + b"\xff\xd9", "strip.jpg")
    for scan in [place.start() for place in re.finditer(b"\xff\xda", data)][1:]:
        with pytest.raises(ImageError, match="ends early"):
            decode(data[:scan] + b"\xff\xd9", "strip.jpg")


def test_progressive_files_that_the_strict_decoder_does_not_know_are_read(gray):
    image = Image.fromarray(gray).convert("CMYK")
    assert decode(encode(image, "JPEG", progressive=True, subsampling=2)).shape == gray.shape


def test_a_scan_without_its_parameters_is_damaged(gray):
    data = encode(Image.fromarray(gray), "JPEG", progressive=True)
    for header in (b"\xff\xda\x00\x02", b"\xff\xda\x00\x03\xff"):
        with pytest.raises(ImageError, match="is damaged"):
            decode(data[: data.find(b"\xff\xda")] + header + b"\xff\xd9")


def test_large_pictures_are_turned_and_converted_by_bands(monkeypatch, gray):
    monkeypatch.setattr("nbutils.data.images.BAND", 500)
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        data = encode(Image.fromarray(gray), exif=exif)
        in_bands = decode(data)
        with monkeypatch.context() as whole:
            whole.setattr("nbutils.data.images.BAND", 10**6)
            assert np.array_equal(decode(data), in_bands)
    deep = encode(Image.fromarray(gray.astype(np.uint16) * 257))
    assert np.array_equal(decode(deep), gray)


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_that_was_cut_and_closed_again_is_damaged(gray, mode, options):
    image = Image.fromarray(gray).convert(mode)
    data = encode(image, "JPEG", **options)
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("L")))
    start = data.rindex(b"\xff\xda") + 20
    for share in (0.3, 0.6, 0.9):
        end = start + int(share * (len(data) - start))
        cut = data[:end].rstrip(b"\xff")
        for closed in (cut + b"\xff\xd9", cut + bytes(len(data) - len(cut) - 2) + b"\xff\xd9"):
            if b"\x00" * 50 in closed and "restart_marker_rows" not in options:
                continue  # zeros are a picture, too
            with pytest.raises(ImageError, match="damaged"):
                decode(closed, "a.jpg")


def test_a_jpeg_whose_header_says_more_rows_is_damaged(gray):
    data = bytearray(encode(Image.fromarray(gray), "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 2] = struct.pack(">H", 3 * gray.shape[0])
    with pytest.raises(ImageError, match="damaged"):
        decode(bytes(data), "a.jpg")


def tiff(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def test_signed_values_are_refused(gray):
    signed = tiff((gray.astype(int) - 128).astype(np.int8), photometric="minisblack")
    with pytest.raises(ImageError, match="signed values"):
        decode(signed, "a.tif")


def test_planes_of_16_bits_are_read_right_or_refused(gray):
    planes = np.stack([gray] * 3).astype(np.uint16) * 257
    options = {"photometric": "rgb", "planarconfig": "separate"}
    with pytest.raises(ImageError, match="16-bit colours in planes"):
        decode(tiff(planes, **options), "a.tif")
    eight = decode(tiff(np.stack([gray] * 3), **options))
    assert np.abs(eight.astype(int) - gray).max() <= 1

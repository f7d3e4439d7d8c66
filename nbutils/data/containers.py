"""What an image file claims, held against its bytes, so that decoding stays short and whole.

Pillow trusts a file: it walks a hundred thousand pages or scans, copies profiles again and again,
and leaves rows black that are not there.
"""

import struct
import zlib
from collections.abc import Iterator
from itertools import product

import numpy as np
import simplejpeg
from PIL import TiffImagePlugin
from PIL.ImageFile import ImageFile

MAX_METADATA = 16 * 2**20  # bytes of profiles, texts and previews
MAX_EXIF = 2**17  # bytes
MAX_PARTS = 100_000  # segments, strips
MAX_CHUNKS = 40_000
MAX_DENSITY = 4  # bytes of a JPEG for each pixel
MAX_SCANS = 100
MAX_SCANNED = 500_000_000  # pixels, over all scans
MAX_PROGRESSIVE = 25_000_000  # pixels of a JPEG in several scans, whose coefficients are all kept
MAX_RUN_LENGTH = 8 * 2**20  # bytes of a run-length encoded BMP

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
ADAM7 += [(0, 1, 1, 2)]  # first column and row of each pass, and their steps
IS_MARKER = np.isin(np.arange(256), [0, *range(0xD0, 0xD8), 0xFF], invert=True)
SOS, EOI, APP1 = 0xDA, 0xD9, 0xE1
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of a frame
PROGRESSIVE = (0xC2, 0xCA)
MADE_UP = ("Corrupt JPEG data", "Premature end")  # begin of what libjpeg says of it
HUFFMAN = (0xC0, 0xC1)  # of one whose scan can be decoded without what comes after it
TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
TIFF_SIZES |= {16: 8, 17: 8, 18: 8}  # bytes by type
OFFSETS, COUNTS = (273, 324), (279, 325)  # of strips, of tiles
BYTES = (1, 2, 6, 7)  # types
SUB_DIRECTORIES = (34665, 34853, 40965)  # EXIF, GPS, interoperability


class ContainerError(ValueError):
    """What is wrong with a file, and the cure, after its name."""


def check_structure(data: bytes) -> bytes:
    """Raise ContainerError for a file whose parts before the picture would take long to read.

    Returns the file as it is to be decoded. An encoded JPEG picture may be cut, and have an end
    marker all the same: the decoder then makes up what is missing. Without that marker it says so.
    """
    if data.startswith(PNG):
        _check_chunks(list(_png_chunks(data)))
    elif data.startswith(JPEG):
        frame, _ = _first_scan(data)
        scans, end = _find_scans(data)
        return data[:end] + bytes(16) if frame in HUFFMAN and len(scans) == 1 else data
    elif data.startswith(TIFF):
        _check_directories(data)
    return data


def check_picture(data: bytes, image: ImageFile) -> None:
    """Raise ContainerError where the picture is not whole, or would take long to decode.

    `image` is the file as Pillow has opened it, before it loads the pixels.
    """
    if data.startswith(PNG):
        _check_png(data)
    elif data.startswith(JPEG):
        _check_jpeg(data, image)
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiff(data, image)
    elif image.tile[0].codec_name == "bmp_rle" and len(data) > MAX_RUN_LENGTH:
        raise ContainerError("is run-length encoded and large: save it as PNG")


def significant_bits(data: bytes) -> int | None:
    """Return the bits of a sample that are in use, as the sBIT chunk of a PNG file says."""
    if not data.startswith(PNG):
        return None
    bits = [data[start] for kind, start, length in _png_chunks(data) if kind == b"sBIT" and length]
    return bits[0] if bits else None


def check_exif(size: int) -> None:
    """Raise ContainerError for EXIF data of so many bytes that each tag may copy much."""
    if size > MAX_EXIF:
        raise ContainerError(f"has EXIF data of over {MAX_EXIF // 2**10} KB: save it without")


def _ends_early() -> ContainerError:
    return ContainerError("is damaged (its data ends early): save or copy it again")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """List the kind, start and length of each chunk up to IEND."""
    place, kind = len(PNG), b""
    for _ in range(MAX_CHUNKS):
        if kind == b"IEND":
            return
        if place + 12 > len(data):
            raise _ends_early()
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place + 8, length
        place += 12 + length
    raise ContainerError(f"has over {MAX_CHUNKS} chunks: save it again")


def _check_chunks(chunks: list[tuple[bytes, int, int]]) -> None:
    if not chunks or chunks[0][0] != b"IHDR" or chunks[0][2] != 13:
        raise ContainerError("is damaged (it has no PNG header): save or copy it again")
    picture = (b"IDAT", b"fdAT")
    _check_metadata(sum(length for kind, _, length in chunks if kind not in picture))
    check_exif(sum(length for kind, _, length in chunks if kind == b"eXIf"))


def _check_metadata(size: int) -> None:
    if size > MAX_METADATA:
        raise ContainerError(
            f"holds over {MAX_METADATA // 2**20} MB beside the picture: save it without metadata"
        )


def _check_png(data: bytes) -> None:
    """Inflate a picture, of which Pillow does not notice that rows are missing."""
    pixels = [(start, length) for kind, start, length in _png_chunks(data) if kind == b"IDAT"]
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    expected = 0
    for left, top, step_x, step_y in passes:
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        if columns > 0 and rows > 0:
            expected += rows * (1 + (columns * PNG_CHANNELS[colour] * bits + 7) // 8)
    stream, size = zlib.decompressobj(), 0
    for start, length in pixels:
        for place in range(start, start + length, 2**16):
            rest = data[place : min(place + 2**16, start + length)]
            while rest and size <= expected:
                size += len(stream.decompress(rest, 2**20))
                rest = stream.unconsumed_tail
    size += len(stream.flush()) if size < expected else 0
    if size != expected or not stream.eof:
        raise _ends_early()


def _first_scan(data: bytes) -> tuple[int, int]:
    """Return the marker of the frame of a JPEG file, and where its first scan begins."""
    place, exif, frame = len(JPEG), 0, 0
    for _ in range(MAX_PARTS):
        if place + 4 > len(data):
            raise _ends_early()
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place] != 0xFF or marker == 0:
            raise ContainerError("is damaged (a marker is missing): save or copy it again")
        if marker == SOS:
            _check_metadata(place)
            check_exif(exif)
            return frame, place
        if marker == 0xFF:
            place += 1
        else:
            frame = marker if marker in FRAMES else frame
            exif += length if marker == APP1 and data[place + 4 : place + 8] == b"Exif" else 0
            place += 2 if marker == 1 or 0xD0 <= marker <= 0xD9 else 2 + length
    raise ContainerError(f"has over {MAX_PARTS} segments before its picture: save it again")


def _check_jpeg(data: bytes, image: ImageFile) -> None:
    frame, _ = _first_scan(data)
    scans, _ = _find_scans(data)
    pixels = image.width * image.height
    if len(data) > MAX_METADATA + MAX_DENSITY * pixels:
        raise ContainerError("holds much beside its picture: save it without")
    count = len(scans)
    if count > 1 and (count * pixels > MAX_SCANNED or pixels > MAX_PROGRESSIVE):
        raise ContainerError(
            f"has {pixels // 10**6} million pixels in {count} scans: save it as a baseline JPEG"
        )
    if frame in PROGRESSIVE:
        _check_coefficients(data, scans, len(image.getbands()))
    if count > 1 or frame not in HUFFMAN:  # the others have lost their end marker
        _check_data(data)


def _check_coefficients(data: bytes, scans: list[int], channels: int) -> None:
    """Raise ContainerError where a scan is missing: its coefficients lack their last bit."""
    complete = set()
    for place in scans:
        parameters = place + 5 + 2 * data[place + 4]
        if parameters + 3 > len(data):
            raise _ends_early()
        first, last, bits = data[parameters : parameters + 3]
        if bits & 15 == 0:
            components = data[place + 5 : parameters : 2]
            complete |= set(product(components, range(first, last + 1)))
    if len(complete) < 64 * channels:  # of the cosine transform
        raise _ends_early()


def _check_data(data: bytes) -> None:
    """Raise ContainerError where the decoder makes up what is missing: Pillow is not told."""
    try:
        simplejpeg.decode_jpeg(data, "gray", strict=True)
    except ValueError as error:
        if str(error).startswith(MADE_UP):
            raise _ends_early() from error


def _find_scans(data: bytes) -> tuple[list[int], int]:
    """Return where the scans of a JPEG file begin, and where it ends."""
    scans: list[int] = []
    after = 0
    for place in _markers(data, _first_scan(data)[1]):
        if place < after:  # within a segment
            continue
        if data[place + 1] == EOI:
            return scans, place
        if data[place + 1] == SOS:
            scans.append(place)
        if len(scans) > MAX_SCANS:
            raise ContainerError(f"has over {MAX_SCANS} scans: save it as a baseline JPEG")
        after = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    raise _ends_early()


def _markers(data: bytes, start: int) -> Iterator[int]:
    """List the places of all that may be markers; neither data nor restarts."""
    values = np.frombuffer(data, np.uint8)
    for first in range(start, len(data) - 1, 2**22):
        window = values[first : first + 2**22 + 1]
        places = np.flatnonzero(window[:-1] == 0xFF)
        yield from (first + places[IS_MARKER[window[places + 1]]]).tolist()


def _check_directories(data: bytes) -> None:
    """Look at the tags of a TIFF file, without the values that they point to."""
    order, is_big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    address = "Q" if is_big else "L"
    try:
        (first,) = struct.unpack_from(order + address, data, 8 if is_big else 4)
        places, following = _check_directory(data, first, order, is_big)
        if following:
            raise ContainerError("holds several pages: save the one to classify as its own file")
        for _ in SUB_DIRECTORIES:  # each may be in the one before
            places = [
                deeper
                for place in places
                for deeper in _check_directory(data, place, order, is_big)[0]
            ]
    except struct.error as error:
        raise _ends_early() from error


def _check_directory(data: bytes, place: int, order: str, is_big: bool) -> tuple[list[int], int]:
    """Return the places of the directories within one, and that of the next page or 0."""
    entry = struct.Struct(order + ("HHQ8s" if is_big else "HHL4s"))
    number = struct.Struct(order + ("Q" if is_big else "H"))
    (count,) = number.unpack_from(data, place)
    if count > MAX_PARTS:
        raise ContainerError(f"has over {MAX_PARTS} tags: save it again")
    place += number.size
    size, inside = 0, []
    for tag, kind, length, value in entry.iter_unpack(data[place : place + count * entry.size]):
        if length > MAX_PARTS and kind not in BYTES:
            raise ContainerError(f"has over {MAX_PARTS} values in a tag or strips: save it again")
        size += length * TIFF_SIZES.get(kind, 0)
        if tag in SUB_DIRECTORIES:
            inside.append(int.from_bytes(value, "little" if order == "<" else "big"))
    _check_metadata(size)
    place += count * entry.size
    return inside, struct.unpack_from(order + ("Q" if is_big else "L"), data, place)[0]


def _check_tiff(data: bytes, image: TiffImagePlugin.TiffImageFile) -> None:
    """See that all strips or tiles are there, and in the file."""
    tags = image.tag_v2
    if 262 not in tags:
        raise ContainerError("does not say whether 0 is black (tag 262): save it again")
    width, height = tags[256], tags[257]
    at = next((at for at, tag in enumerate(OFFSETS) if tag in tags), 0)
    offsets = np.array(tags.get(OFFSETS[at], ()), float)
    lengths = np.array(tags.get(COUNTS[at], ()), float)
    wide, high = (tags.get(322, 0), tags.get(323, 0)) if at else (width, tags.get(278, height))
    if min(wide, high) < 1 or (at and wide * high > 4 * width * height + 2**20):
        raise ContainerError("is damaged (its strips have no size): save or copy it again")
    planes = tags.get(277, 1) if tags.get(284, 1) == 2 else 1
    if 2 in tags.get(339, (1,)):
        raise ContainerError("has signed values: save it with 8 or 16 bits a pixel")
    if planes > 1 and max(tags.get(258, (1,))) > 8 and tags.get(259, 1) == 1:
        raise ContainerError("has 16-bit colours in planes: save it as gray, or with 8 bits")
    needed = -(-width // wide) * -(-height // high) * planes
    is_whole = len(offsets) >= needed and (offsets > 0).all()
    if len(lengths):
        is_whole &= len(lengths) == len(offsets) and (lengths > 0).all()
        is_whole &= bool((offsets + lengths <= len(data)).all()) if is_whole else False
    if not is_whole:
        raise ContainerError("is damaged (strips are missing): save or copy it again")
    if tags.get(259, 1) == 1 and len(lengths):
        bits = sum(tags.get(258, (1,))) * (tags.get(277, 1) if len(tags.get(258, (1,))) == 1 else 1)
        if lengths.sum() < width * height * bits / 8:
            raise _ends_early()
    if tags.get(259, 1) in (6, 7) and data.count(b"\xff\xda") > MAX_SCANS + 4 * len(offsets):
        raise ContainerError(f"has over {MAX_SCANS} scans: save it without compression")

"""Mutate small image files at random, and count what leaves `decode` that is no ImageError.

python tests/fuzz_images.py [MUTATIONS] [SEED]
"""

import io
import sys
import time
from collections import Counter

import numpy as np
from PIL import Image, TiffImagePlugin

from nbutils.data.images import ImageError, decode

HARMFUL = (
    b"\xff\xda",
    b"\xff\xd9",
    b"IDAT",
    b"IEND",
    b"tRNS",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
)


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def seeds():
    """Return small valid files of all formats, by name."""
    rng = np.random.default_rng(0)
    gray = Image.fromarray(rng.integers(60, 200, (24, 32)).astype(np.uint8))
    deep = Image.fromarray(rng.integers(0, 2**16, (24, 32)).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = {
        "PNG": [{}, {"exif": exif}],
        "JPEG": [{}, {"progressive": True}, {"exif": exif}],
        "BMP": [{}],
        "TIFF": [{}, *({"compression": kind} for kind in ("tiff_lzw", "packbits", "jpeg"))],
    }
    images = {mode: gray.convert(mode) for mode in ("1", "L", "P", "RGB", "LA", "RGBA", "CMYK")}
    files = {}
    for mode, image in (images | {"I;16": deep}).items():
        for kind, variants in kinds.items():
            for number, options in enumerate(variants):
                try:
                    files[f"{mode} {kind} {number}"] = encode(image, kind, **options)
                except (OSError, ValueError, KeyError):
                    continue  # Pillow writes no such file
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[281] = 4095
    twelve = Image.fromarray(np.asarray(deep) // 16)
    return files | {"12 bits TIFF": encode(twelve, "TIFF", tiffinfo=tags)}


def mutate(data, rng):
    """Change, cut, repeat or insert some bytes, most often near the start."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        place = int(len(data) * rng.random() ** 3)
        length = int(rng.integers(1, 9))
        kind = rng.integers(6)
        if kind == 0:
            data[place : place + length] = rng.bytes(length)
        elif kind == 1:
            del data[place : place + length]
        elif kind == 2:
            data[place:place] = data[place : place + 4 * length]
        elif kind == 3:
            data[place:place] = HARMFUL[rng.integers(len(HARMFUL))]
        elif kind == 4 and place < len(data):
            data[place] ^= 1 << int(rng.integers(8))
        elif len(data) > 64 and rng.random() < 0.2:
            del data[-int(rng.integers(1, len(data) // 2)) :]
    return bytes(data)


def main(count=300_000, seed=0):
    rng, files = np.random.default_rng(seed), list(seeds().items())
    outcomes, slowest = Counter(), (0.0, "")
    for _ in range(count):
        name, data = files[rng.integers(len(files))]
        data, start = mutate(data, rng), time.perf_counter()
        try:
            gray = decode(data, name)
            assert gray.dtype == np.uint8 and gray.ndim == 2
            outcomes["an array"] += 1
        except ImageError:
            outcomes["ImageError"] += 1
        except Exception as error:
            outcomes[f"escaped: {name}: {error!r}"] += 1
        slowest = max(slowest, (time.perf_counter() - start, name))
    for outcome, number in outcomes.most_common():
        print(f"{number:>8} {outcome}")
    print(f"slowest: {slowest[0]:.2f} s ({slowest[1]})")
    return any(outcome.startswith("escaped") for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))

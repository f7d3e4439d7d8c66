"""The one way in for pixels: bytes of a file -> gray values -> the input of a model."""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from nbutils.artefacts import MIN_SIDE
from nbutils.data import bit_depth, containers, files
from nbutils.data.bit_depth import BitDepthError
from nbutils.data.containers import ContainerError
from nbutils.disk import UserError

FORMATS = ("JPEG", "PNG", "BMP", "TIFF")
OPENERS: dict[bytes, Callable[..., ImageFile]] = {  # first bytes -> what opens it
    containers.JPEG: jpeg_factory,
    containers.PNG: PngImageFile,
    b"BM": BmpImageFile,
    **dict.fromkeys(containers.TIFF, TiffImageFile),
}
MAX_BYTES = 256 * 2**20  # of a file: 200 million pixels of 8 bits, or of 16 where compressed
MAX_PIXELS = 200_000_000  # of gray images, such as those of whole strips
MAX_COLOUR_PIXELS = 50_000_000  # Pillow keeps four bytes of each
BLANK_RANGE = 10  # from the darkest to the lightest pixel: of less, nothing is to be seen
BAND = 2**22  # pixels that are converted at once
SAMPLE = 50  # files of a set
LARGE = 1.5  # times the size of the training images, from which an image is cut into windows
EXIF_ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
RAW_EXIF = "Raw profile type exif"  # text of a PNG file

# Pillow warns of damaged tags, and goes on; what matters of them is refused here, in a sentence.
warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageError(UserError):
    """An image that cannot be read: the text names the file and the cure."""


def read_file(path: str | Path) -> bytes:
    """Read an image file for `decode`: a regular one of at most `MAX_BYTES`.

    Raises ImageError for anything else.
    """
    try:
        return files.read_bytes(path, MAX_BYTES)
    except UserError as error:
        raise ImageError(str(error)) from error


def decode(data: bytes, name: str = "image", bits: int | None = None) -> np.ndarray:
    """Turn the bytes of an image file into its gray values.

    Colour becomes luminance (ITU-R 601), EXIF orientation is applied, and 16 bits are scaled to 8.
    Beside the result, it takes the memory of the picture as it is stored; the bytes of the file are
    let go before, where nothing else holds them.

    Parameters
    ----------
    data
        A JPEG, PNG, BMP or TIFF file of at most `MAX_BYTES`.
    name
        What errors call the image.
    bits
        The bit depth of the camera, one of `BIT_DEPTHS`, of files with 16 bits a pixel; else
        what the file itself says.

    Returns
    -------
    uint8 array of shape (height, width), 0 black to 255 white.

    Raises
    ------
    ImageError
        If the bytes are no such image, or one that cannot be read unambiguously.
    """
    with _open(data, name) as image:
        containers.check_picture(data, image)
        is_deep, has_16_bits = _is_deep(image), image.mode.startswith("I;16")
        stated = bit_depth.stated_bits(image, data) if has_16_bits else None
        assert image.fp
        with image.fp:
            image.load()
        del data  # the file of a strip is not kept beside its picture
        turn = _orientation(image)
        height, width = image.height, image.width
        gray = np.empty((width, height) if turn in TURNED else (height, width), np.uint8)
        stored = _as_stored(gray, turn)
        if has_16_bits:
            _from_16_bits(image, stated, bits, stored)
        else:
            for rows, band in _bands(image):
                stored[rows] = _luminance(band)
        if is_deep and bits != 16:
            _check_high_bytes(gray, bits)
        return gray


def resize(gray: np.ndarray, size: int) -> np.ndarray:
    """Resize gray values to the square input of a model (bilinear, antialiased).

    Parameters
    ----------
    gray
        uint8, shape (height, width). Other aspect ratios are distorted, nothing is cropped.
    size
        Side of the square in pixels.

    Returns
    -------
    uint8 array of shape (size, size, 1), 0 to 255.
    """
    if gray.shape != (size, size):
        image = Image.fromarray(gray).resize((size, size), Image.Resampling.BILINEAR)
        gray = np.asarray(image)
    return gray[..., np.newaxis]


def is_large(shape: Sequence[int], usual: Sequence[int]) -> bool:
    """Tell whether an image is larger than those of training, so that it is cut into windows."""
    return any(side > LARGE * usual for side, usual in zip(shape, usual, strict=True))


def symmetries(images: np.ndarray) -> np.ndarray:
    """Return images in the eight symmetries of the square, the unchanged ones first.

    Shape (images, size, size, 1) becomes (8, images, size, size, 1).
    """
    turned = [np.rot90(images, quarter, axes=(1, 2)) for quarter in range(4)]
    return np.stack(turned + [view[:, :, ::-1] for view in turned])


def common_bit_depth(paths: Sequence[str]) -> int | None:
    """Return the bit depth of a set's 16-bit files, by a sample; None where each says it itself."""
    histograms, is_open = [], False
    for path in paths[:: max(len(paths) // SAMPLE, 1)]:
        try:
            with _open(data := read_file(path), path) as image:
                if not image.mode.startswith("I;16") or bit_depth.stated_bits(image, data):
                    continue
                containers.check_picture(data, image)
                histograms.append(_histogram(image))
        except ImageError:
            continue
        is_open |= not bit_depth.is_full(histograms[-1])
    return bit_depth.of_set(histograms) if is_open else None


def image_size(path: Path) -> tuple[int, int] | None:
    """Return width and height in pixels, as `decode` will; None if it cannot be read."""
    try:
        with _open(read_file(path), str(path)) as image:
            width, height = image.size
            turned = _orientation(image) in TURNED
    except ImageError:
        return None
    return (height, width) if turned else (width, height)


def image_statistics(gray: np.ndarray) -> tuple[float, float, float]:
    """Return brightness and contrast (mean and deviation, gray values), and sharpness.

    Sharpness is the mean step down plus the mean step to the right, over the contrast. The image
    is uint8, (height, width) or (height, width, 1).
    """
    values = gray.astype(np.float32)
    contrast = float(values.std())
    steps = np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean()
    return float(values.mean()), contrast, float(steps / max(contrast, 1.0))


def pixel_hash(gray: np.ndarray) -> str:
    """Return the SHA-256 of gray values (uint8) and their shape, in hexadecimal digits."""
    return hashlib.sha256(str(gray.shape).encode() + gray.tobytes()).hexdigest()


@contextmanager
def _open(data: bytes, name: str) -> Iterator[ImageFile]:
    """Open a file, of which the header is sound; whatever goes wrong meanwhile is ImageError."""
    if not data:
        raise ImageError(f"{name} is empty (0 bytes): save or copy it again")
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name} has over {MAX_BYTES // 2**20} MB: crop or shrink it first")
    opener = next((OPENERS[start] for start in OPENERS if data.startswith(start)), None)
    if opener is None:
        raise ImageError(f"{name} is not a readable image: give one of {', '.join(FORMATS)}")
    try:
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's own limit, of the process
        file = io.BytesIO(containers.check_structure(data))
        del data
        with opener(file) as image:
            _check_header(image)
            yield image
    except (ContainerError, BitDepthError) as error:
        raise ImageError(f"{name} {error}") from error
    # As broad as this, since Pillow's decoders name no set of exceptions: damaged files
    # raise TypeError, AssertionError, struct.error, OverflowError and more, by what is damaged.
    except Exception as error:
        raise ImageError(f"{name} is damaged ({error}): save or copy it again") from error


def _check_header(image: ImageFile) -> None:
    width, height = image.size
    limit = MAX_PIXELS if image.mode in ("L", "1") or image.mode[0] == "I" else MAX_COLOUR_PIXELS
    if width * height > limit:
        raise ContainerError(f"has over {limit // 10**6} million pixels: crop or shrink it first")
    if min(width, height) < MIN_SIDE:
        raise ContainerError(
            f"is {width} x {height} pixels, too small to classify: "
            f"give one of at least {MIN_SIDE} x {MIN_SIDE}"
        )
    frames = 1 if isinstance(image, TiffImageFile) else getattr(image, "n_frames", 1)
    if frames > 1:
        raise ContainerError(f"holds {frames} frames: save the one to classify as its own file")
    if image.mode in ("I", "F"):
        raise ContainerError("has 32 bits or signed values: save it with 8 or 16 bits a pixel")


def _orientation(image: ImageFile) -> int:
    """Return the EXIF orientation that Pillow leaves to us; it turns TIFF itself."""
    if isinstance(image, TiffImageFile):
        return 1
    containers.check_exif(len(image.info.get(RAW_EXIF, "")) // 2)
    return image.getexif().get(EXIF_ORIENTATION, 1)


def _as_stored(gray: np.ndarray, orientation: int) -> np.ndarray:
    """Return a view of an image in which its pixels lie as in a file of this EXIF orientation."""
    views = {
        2: gray[:, ::-1],
        3: gray[::-1, ::-1],
        4: gray[::-1],
        5: gray.T,
        6: np.rot90(gray),
        7: gray.T[::-1, ::-1],
        8: np.rot90(gray, -1),
    }
    return views.get(orientation, gray)


def _bands(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Cut an image into bands of rows, so that no second copy of the whole is made."""
    step = max(BAND // image.width, 1)
    if step >= image.height:
        yield slice(None), image
        return
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def _luminance(band: Image.Image) -> np.ndarray:
    if band.has_transparency_data and np.asarray(band.convert("RGBA"))[..., 3].min() < 255:
        raise ContainerError("is partly transparent: save it without an alpha channel")
    if band.mode not in ("L", "RGB"):
        band = band.convert("RGB")
    return np.asarray(band if band.mode == "L" else band.convert("L"))


def _from_16_bits(
    image: ImageFile, stated: int | None, bits: int | None, stored: np.ndarray
) -> None:
    """Fill `stored` with the gray values of 16-bit ones."""
    histogram = _histogram(image)
    if histogram[image.info.get("transparency", 0)] and "transparency" in image.info:
        raise ContainerError("is partly transparent: save it without an alpha channel")
    if (
        stated
        and isinstance(image, PngImageFile)
        and bit_depth.step(histogram) >= 2 ** (16 - stated)
    ):
        bits = bits or 16  # scaled to all of them, as PNG asks for
    bits = bit_depth.choose(histogram, stated, bits)
    table = bit_depth.lookup(bits, bit_depth.is_inverted(image))
    for rows, band in _bands(image):
        stored[rows] = table[np.asarray(band)]


def _histogram(image: ImageFile) -> np.ndarray:
    """Count each of the 65,536 values of a 16-bit image."""
    histogram = np.zeros(2**16, int)
    image.load()
    for _, band in _bands(image):
        histogram += np.bincount(np.asarray(band).ravel(), minlength=2**16)
    return histogram


def _is_deep(image: ImageFile) -> bool:
    """Tell whether a colour has 16 bits in the file, of which Pillow gives the high byte."""
    is_colour = isinstance(image, PngImageFile | TiffImageFile) and image.mode[0] != "I"
    return is_colour and ";16" in str(image.tile)


def _check_high_bytes(gray: np.ndarray, bits: int | None) -> None:
    """Raise BitDepthError where the high bytes of 16-bit colours may be nearly black."""
    counts = np.bincount(gray.ravel(), minlength=256)
    if bits or bit_depth.high_value(np.repeat(counts, 256)) // 256 < 64:
        raise BitDepthError(
            "has 16 bits a colour, not all of them in use: save it as 16-bit gray, or with 8 bits"
        )

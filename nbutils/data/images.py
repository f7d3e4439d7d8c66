"""The one way in for pixels: bytes of a file -> gray values -> the input of a model."""

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nbutils.data import files
from nbutils.runs import UserError

FORMATS = ("JPEG", "PNG", "BMP", "TIFF")
MIN_SIDE = 16
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
EXIF_ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


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


def decode(data: bytes, name: str = "image") -> np.ndarray:
    """Turn the bytes of an image file into its gray values.

    Colour becomes luminance (ITU-R 601), EXIF orientation is applied, and 16 bits are scaled to 8.

    Parameters
    ----------
    data
        A JPEG, PNG, BMP or TIFF file of at most `MAX_BYTES`.
    name
        What errors call the image.

    Returns
    -------
    uint8 array of shape (height, width), 0 black to 255 white.

    Raises
    ------
    ImageError
        If the bytes are no such image, or one that cannot be read unambiguously.
    """
    if not data:
        raise ImageError(f"{name} is empty (0 bytes): save or copy it again")
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name} has over {MAX_BYTES // 2**20} MB: crop or shrink it first")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_header(image, name)
            ImageOps.exif_transpose(image, in_place=True)
            return _gray(image, name)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        formats = ", ".join(FORMATS)
        raise ImageError(f"{name} is not a readable image: give one of {formats}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(_too_many_pixels(name)) from error
    # Pillow's decoders name no set of exceptions: a damaged file gives TypeError, AssertionError,
    # struct.error, OverflowError and others besides, by the place of the damage.
    except Exception as error:
        raise ImageError(f"{name} is damaged ({error}): save or copy it again") from error


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


def to_array(data: bytes, size: int, name: str = "image") -> np.ndarray:
    """Turn the bytes of an image file into a model's input: `decode`, then `resize`."""
    return resize(decode(data, name), size)


def symmetries(images: np.ndarray) -> np.ndarray:
    """Return images in the eight symmetries of the square, the unchanged ones first.

    Shape (images, size, size, 1) becomes (8, images, size, size, 1).
    """
    turned = [np.rot90(images, quarter, axes=(1, 2)) for quarter in range(4)]
    return np.stack(turned + [view[:, :, ::-1] for view in turned])


def image_size(path: Path) -> tuple[int, int] | None:
    """Return width and height in pixels, as `decode` will; None if it cannot be read."""
    try:
        with Image.open(io.BytesIO(read_file(path)), formats=FORMATS) as image:
            width, height = image.size
            turned = image.getexif().get(EXIF_ORIENTATION) in TURNED
    except Exception:  # as in `decode`
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


def _check_header(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(_too_many_pixels(name))
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name} is {width} x {height} pixels, too small to classify: "
            f"give one of at least {MIN_SIDE} x {MIN_SIDE}"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise ImageError(f"{name} holds {frames} frames: save the one to classify as its own file")


def _too_many_pixels(name: str) -> str:
    return f"{name} has over {MAX_PIXELS // 10**6} million pixels: crop or shrink it first"


def _gray(image: Image.Image, name: str) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return _from_16_bits(np.asarray(image), name)
    if image.mode in ("I", "F"):
        raise ImageError(f"{name} has 32 bits a pixel: save it with 8 or 16")
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise ImageError(f"{name} is partly transparent: save it without an alpha channel")
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return np.array(image if image.mode == "L" else image.convert("L"))


def _from_16_bits(values: np.ndarray, name: str) -> np.ndarray:
    if values.max() < 2**12:
        raise ImageError(
            f"{name} has 16 bits a pixel but no value over {values.max()} of 65535: "
            "stretch the values to 16 bits, or save it with 8"
        )
    return (values // 257).astype(np.uint8)

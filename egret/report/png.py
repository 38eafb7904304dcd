"""Pictures without a picture library: 8 bits a pixel through a palette (PNG, ISO/IEC 15948)."""

import struct
import zlib

import numpy as np

# Ten colours of viridis (Smith and van der Walt 2015, CC0), between which we interpolate: dark is little, light is
# much, evenly so to the eye and to the colour-blind.
VIRIDIS = ["440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"]


def palette() -> np.ndarray:
    """uint8 [256, 3]."""
    stops = np.array([[int(colour[at : at + 2], 16) for at in (0, 2, 4)] for colour in VIRIDIS])
    places = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(places, range(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def png(pixels: np.ndarray, colours: np.ndarray) -> bytes:
    """A file from pixels uint8 [height, width], numbers of colours uint8 [256, 3]."""
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    lines = np.zeros((height, width + 1), np.uint8)  # each line begins with its filter: 0, none
    lines[:, 1:] = pixels
    chunks = [
        (b"IHDR", header),
        (b"PLTE", colours.tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def heat_map(values: np.ndarray) -> bytes:
    """A picture of values [T, C], time to the right and the first of C below.

    The lowest and highest hundredth are cut off, so that one click does not make all the rest dark.
    """
    low, high = np.percentile(values, [1, 99])
    scaled = (values - low) / max(high - low, 1e-6)
    return png((scaled.clip(0, 1) * 255).round().astype(np.uint8).T[::-1], palette())

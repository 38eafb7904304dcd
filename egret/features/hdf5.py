"""An HDF5 file of float16 matrices, written from its beginning to its end as a stream.

The HDF5 library is not used for writing: on a full disk it ends the process with a segmentation fault, it takes ten
times as long for a matrix, and its files are not the same bytes every time. It reads what is written here, as does
h5py: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, a superblock of version 0, the root group,
and a dataset for each matrix, whole and uncompressed, whose name says at which byte its values begin:

    superblock | (object header, values) of each matrix | names | symbol nodes | B-tree node | root group
"""

import struct
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PREFIX = "float16-"
SUPERBLOCK = 96  # bytes
OBJECT_HEADER = 128
LEAF_K = 128  # half the number of names in a symbol node, of which there may be 65535
LARGEST = 65504.0  # of float16
UNDEFINED = (1 << 64) - 1
# Floating point, version 1: little-endian, sign in bit 15, five bits of exponent with bias 15, ten of mantissa.
FLOAT16 = struct.pack("<BBBBI HHBBBBI 4x", 0x11, 0x20, 15, 0, 2, 0, 16, 10, 5, 0, 10, 15)


class Writer:
    """A file being written: `add` matrices, then `finish`."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.headers: list[int] = []  # where the object header of each matrix begins
        self.end = file.write(bytes(SUPERBLOCK))

    def add(self, values: "np.ndarray") -> str:
        """Write a matrix, float16 [T, C], contiguous; returns the name of its dataset."""
        start = self.end + OBJECT_HEADER
        self.headers.append(self.end)
        self._write(object_header(start, *values.shape))
        self._write(values.data)
        return dataset_name(start)

    def finish(self) -> None:
        """Write what makes it an HDF5 file."""
        names = [dataset_name(header + OBJECT_HEADER).encode() for header in self.headers]  # in order, as they must be
        size = -(-(len(PREFIX) + 16) // 8) * 8  # of a name, with the zero that ends it
        segment = bytes(8) + b"".join(name.ljust(size, b"\0") for name in names)
        places = [8 + number * size for number in range(len(names))]
        heap = self.end
        self._write(struct.pack("<4sB3xQQQ", b"HEAP", 0, len(segment), 1, heap + 32))
        self._write(segment)
        nodes, last = [], []  # each symbol node, and the greatest name in it
        for first in range(0, len(names), 2 * LEAF_K):
            here = range(first, min(first + 2 * LEAF_K, len(names)))
            entries = b"".join(struct.pack("<QQ24x", places[number], self.headers[number]) for number in here)
            nodes.append(self.end)
            last.append(places[here[-1]])
            self._write(struct.pack("<4sBxH", b"SNOD", 1, len(here)) + entries.ljust(2 * LEAF_K * 40, b"\0"))
        internal_k = max(16, -(-len(nodes) // 2))
        tree = self.end
        pairs = struct.pack("<Q", 0) + b"".join(struct.pack("<QQ", *p) for p in zip(nodes, last, strict=True))
        self._write(struct.pack("<4sBBHQQ", b"TREE", 0, 0, len(nodes), UNDEFINED, UNDEFINED))
        self._write(pairs.ljust((4 * internal_k + 1) * 8, b"\0"))
        root = self.end
        self._write(struct.pack("<BxHII4x", 1, 1, 1, 24) + struct.pack("<HHB3xQQ", 0x11, 16, 0, tree, heap))
        self.file.seek(0)
        self.file.write(
            b"\x89HDF\r\n\x1a\n"
            + struct.pack("<4xxBBxHHI", 8, 8, LEAF_K, internal_k, 0)
            + struct.pack("<QQQQ", 0, UNDEFINED, self.end, UNDEFINED)
            + struct.pack("<QQI4xQQ", 0, root, 1, tree, heap)
        )

    def _write(self, content: bytes | memoryview) -> None:
        """Append, and see that what follows begins at a multiple of eight."""
        length = self.file.write(content)
        self.end += length
        if padding := -length % 8:
            self.end += self.file.write(bytes(padding))


def dataset_name(start: int) -> str:
    """The name of the dataset whose values begin at a byte."""
    return f"{PREFIX}{start:015d}"


def object_header(start: int, rows: int, columns: int) -> bytes:
    """What precedes a matrix in the file: its shape, its type and the place of its values."""
    dataspace = struct.pack("<BBB5xQQ", 1, 2, 0, rows, columns)
    fill_value = struct.pack("<BBBBI", 2, 1, 1, 1, 0)  # space at once, never filled
    layout = struct.pack("<BBQQ6x", 3, 1, start, 2 * rows * columns)
    messages = ((0x1, dataspace), (0x3, FLOAT16), (0x5, fill_value), (0x8, layout))
    content = b"".join(struct.pack("<HHB3x", kind, len(body), 0) + body for kind, body in messages)
    return struct.pack("<BxHII4x", 1, len(messages), 1, len(content)) + content


def read(path: str, name: str, rows: int, columns: int) -> "np.ndarray":
    """A matrix, float16 [rows, columns], without the HDF5 library.

    Raises:
      OSError: the file cannot be read.
      EOFError: it ends too early.
      ValueError: it holds something else there.
    """
    import numpy as np

    start = int(name[len(PREFIX) :])
    size = 2 * rows * columns
    content = bytearray(OBJECT_HEADER + size)
    with open(path, "rb", buffering=0) as file:
        file.seek(start - OBJECT_HEADER)
        if file.readinto(content) < len(content):
            raise EOFError("the archive ends before they do")
    if content[:OBJECT_HEADER] != object_header(start, rows, columns):
        raise ValueError("others are in their place")
    return np.frombuffer(content, np.float16, offset=OBJECT_HEADER).reshape(rows, columns)

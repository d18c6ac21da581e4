"""Files of named tensors in the safetensors format, read and written with numpy alone."""
import json
import struct

import numpy as np

DTYPES = {"F64": np.float64, "F32": np.float32, "I32": np.int32, "I64": np.int64}
NAMES = {np.dtype(t): name for name, t in DTYPES.items()}


def index(path):
    """({name: (dtype, shape, place in the file)}, {key: text}) of a file; the order is that of the data."""
    with open(path, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(length))
    meta = header.pop("__metadata__", {})
    entries = sorted(header.items(), key=lambda e: e[1]["data_offsets"])
    return {name: (DTYPES[e["dtype"]], e["shape"], 8 + length + e["data_offsets"][0])
            for name, e in entries}, meta


def read(path, entry):
    """The array of one entry of an index."""
    dtype, shape, place = entry
    return np.fromfile(path, dtype, int(np.prod(shape)), offset=place).reshape(shape)


def load(path):
    """({name: array}, {key: text}) of a file."""
    entries, meta = index(path)
    return {name: read(path, entry) for name, entry in entries.items()}, meta


def save(path, tensors, meta):
    header, blobs, at = {"__metadata__": meta}, [], 0
    for name, array in tensors.items():
        blob = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))

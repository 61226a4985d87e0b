"""Writes the golden blocks of every supported weight format, next to this file.

Each format NAME has two files: NAME.blocks.bin (raw blocks as in a GGUF file) and NAME.f32.bin (the values from
gguf.quants.dequantize, little-endian binary32).

Usage:  python3 -m venv venv && venv/bin/pip install numpy gguf==0.19.0 && venv/bin/python tests/golden/formats/generate.py
The output is the same on every run.
"""

from pathlib import Path

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

HERE = Path(__file__).parent

# Byte offsets, within a block, of the binary16 fields.
HALVES = {
    T.Q4_0: [0],
    T.Q4_1: [0, 2],
    T.Q5_0: [0],
    T.Q5_1: [0, 2],
    T.Q8_0: [0],
    T.IQ4_NL: [0],
    T.Q2_K: [80, 82],
    T.Q3_K: [108],
    T.Q4_K: [0, 2],
    T.Q5_K: [0, 2],
    T.Q6_K: [208],
    T.IQ4_XS: [0],
}

# Signed zeros, smallest and largest subnormals, smallest normals, ones, largest finite values.
SPECIAL_HALVES = np.array(
    [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x0002, 0x0155],
    dtype=np.uint16,
)


def random_halves(rng: np.random.Generator, n: int) -> np.ndarray:
    """n finite binary16 values: the special ones first (in random order), then any finite bit pattern."""
    bits = rng.integers(0, 0x10000, n, dtype=np.uint16)
    infinite = (bits & 0x7C00) == 0x7C00
    bits[infinite] &= np.uint16(0xBFFF)
    special = rng.permutation(SPECIAL_HALVES)[:n]
    bits[: len(special)] = special
    return bits


def random_blocks(rng: np.random.Generator, kind: T) -> np.ndarray:
    """[n_blocks, block_bytes] uint8."""
    elems, size = GGML_QUANT_SIZES[kind]
    if kind == T.F32:
        bits = rng.integers(0, 1 << 32, 2048, dtype=np.uint32)
        bits[(bits & 0x7F800000) == 0x7F800000] &= np.uint32(0xBFFFFFFF)
        bits[:8] = [0, 0x80000000, 1, 0x80000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000]
        return bits.view(np.uint8).reshape(-1, 4)
    if kind == T.F16:
        bits = np.concatenate([random_halves(rng, 2046), np.array([0x7C00, 0xFC00], dtype=np.uint16)])
        return bits.view(np.uint8).reshape(-1, 2)
    if kind == T.BF16:
        bits = rng.integers(0, 0x10000, 2048, dtype=np.uint16)
        bits[(bits & 0x7F80) == 0x7F80] &= np.uint16(0xBFFF)
        bits[:8] = [0, 0x8000, 1, 0x8001, 0x007F, 0x0080, 0x7F7F, 0x7F80]
        return bits.view(np.uint8).reshape(-1, 2)
    n_blocks = 64 if elems == 32 else 32
    blocks = rng.integers(0, 256, (n_blocks, size), dtype=np.uint8)
    for offset in HALVES.get(kind, []):
        blocks[:, offset : offset + 2] = random_halves(rng, n_blocks).view(np.uint8).reshape(-1, 2)
    if kind == T.MXFP4:
        # Exponents from subnormal values to values that overflow to infinity.
        blocks[:10, 0] = [0, 1, 2, 3, 127, 128, 252, 253, 254, 255]
    # Two blocks with the smallest and the largest packed scales and quants.
    fixed = HALVES.get(kind, [0])
    keep = {byte for offset in fixed for byte in ((offset, offset + 1) if kind != T.MXFP4 else (offset,))}
    for row, value in ((-2, 0x00), (-1, 0xFF)):
        for byte in range(size):
            if byte not in keep:
                blocks[row, byte] = value
    return blocks


def main() -> None:
    kinds = [T.F32, T.F16, T.BF16, T.MXFP4, *(kind for kind in HALVES)]
    for kind in sorted(kinds):
        rng = np.random.default_rng(1000 + int(kind))
        blocks = random_blocks(rng, kind)
        with np.errstate(over="ignore"):
            values = dequantize(blocks, kind).astype("<f4", copy=False).ravel()
        assert not np.isnan(values).any(), kind.name
        blocks.tofile(HERE / f"{kind.name}.blocks.bin")
        values.tofile(HERE / f"{kind.name}.f32.bin")
        print(f"{kind.name:7s} {len(blocks):5d} blocks {values.size:6d} values")


if __name__ == "__main__":
    main()

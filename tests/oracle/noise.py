"""Random numbers of routers as src/op/noise_rule.h has them: Philox4x32-10 (Salmon et al. 2011), keyed by the
seed, its counter made of the place in the step, the step, and the hash of the router's name."""
import ctypes
import math

import numpy as np
import torch


def stream_of(name):
    """XXH3 of the name: the library's, since it is that of moelab that is asked about nowhere else."""
    xxh3 = ctypes.CDLL("libxxhash.so.0").XXH3_64bits
    xxh3.restype, xxh3.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
    return xxh3(name.encode(), len(name.encode()))


def philox(counter, key):
    """counter: [n, 4] words; key: two."""
    c, (k0, k1) = counter.astype(np.uint64), key
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = c[:, 0] * np.uint64(0xD2511F53), c[:, 2] * np.uint64(0xCD9E8D57)
        c = np.stack([(p1 >> np.uint64(32)) ^ c[:, 1] ^ np.uint64(k0), p1 & low,
                      (p0 >> np.uint64(32)) ^ c[:, 3] ^ np.uint64(k1), p0 & low], 1)
        k0, k1 = (k0 + 0x9E3779B9) % 2 ** 32, (k1 + 0xBB67AE85) % 2 ** 32
    return c


def blocks(seed, step, name, n):
    """[n, 4] random words of 32 bits."""
    stream, counter = stream_of(name + ".noise"), np.zeros((n, 4), np.uint64)
    counter[:, 0] = np.arange(n)
    counter[:, 1], counter[:, 2], counter[:, 3] = step, stream % 2 ** 32, stream >> 32
    return philox(counter, (seed % 2 ** 32, seed >> 32))


def walk(name, token, E):
    """(first, by): a token's experts are first, first + by, ... mod E, whatever the seed of the run."""
    key = stream_of(name)
    word = philox(np.array([[token, 0, 0x7369676E, 0x6173]], np.uint64), (key % 2 ** 32, key >> 32))[0]
    by = 1 + int(word[1]) % E
    while math.gcd(by, E) != 1:
        by += 1
    return int(word[0]) % E, by


def uniform(b, half):
    """In (0, 1), of 52 bits."""
    bits = (b[:, 2 * half] << np.uint64(32)) | b[:, 2 * half + 1]
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0 ** -52


def draws(kind, seed, step, name, shape):
    """A number for each token and expert."""
    b = blocks(seed, step, name, shape[0] * shape[1])
    if kind == "gumbel":
        n = -np.log(-np.log(uniform(b, 0)))
    else:
        n = np.sqrt(-2 * np.log(uniform(b, 0))) * np.cos(2 * np.pi * uniform(b, 1))
    return torch.from_numpy(n.reshape(shape))


def jitter(seed, step, name, shape):
    """Uniform in (-1, 1) for each token and channel; four channels share a block."""
    width = (shape[1] + 3) // 4
    b = blocks(seed, step, name, shape[0] * width)
    u = (2 * (b >> np.uint64(9)).astype(np.float64) + 1) / 2 ** 23 - 1
    return torch.from_numpy(u.reshape(shape[0], 4 * width)[:, :shape[1]].copy())

"""The benchmark's data: the same bytes each time.

big: one file of random bytes (a checkpoint); its delta overwrites 1% of its 64 KiB blocks in place and inserts 1 KiB at a third.
small: files of 1 to 15 KiB of random bytes, 1000 a folder (telemetry); its delta rewrites 1000, removes 1000 and adds 1000; ten
rewrites ten.
many: small files, by the million, of 16 to 256 bytes.
"""
import os
import random

BLOCK = 64 << 10
TOUCHED = 1000
SIZES = {"small": (1024, 15 * 1024), "many": (16, 256)}


def _record(path, rng, kind="small"):
    with open(path, "wb") as f:
        f.write(rng.randbytes(rng.randint(*SIZES[kind])))


def make(kind, root, options):
    os.makedirs(root)
    if kind == "big":
        rng = random.Random(1)
        with open(os.path.join(root, "model.ckpt"), "wb") as f:
            for _ in range(options.big_mib):
                f.write(rng.randbytes(1 << 20))
        return
    rng = random.Random(2)
    for n in range(options.many_files if kind == "many" else options.small_files):
        folder = os.path.join(root, f"{n // 1000:04d}")
        if n % 1000 == 0:
            os.makedirs(folder)
        _record(os.path.join(folder, f"{n:07d}.rec"), rng, kind)


def touch_ten(kind, root):
    rng = random.Random(5)
    folders = sorted(os.path.join(root, name) for name in os.listdir(root))
    for folder in rng.choices(folders, k=10):
        _record(os.path.join(folder, rng.choice(sorted(os.listdir(folder)))), rng, kind)


def touch(kind, root, _):
    if kind == "big":
        rng = random.Random(3)
        path = os.path.join(root, "model.ckpt")
        size = os.path.getsize(path)
        with open(path, "r+b") as f:
            for block in rng.sample(range(size // BLOCK), size // BLOCK // 100):
                f.seek(block * BLOCK)
                f.write(rng.randbytes(BLOCK))
            f.seek(size // 3)
            tail = f.read()
            f.seek(size // 3)
            f.write(rng.randbytes(1024))
            f.write(tail)
        return
    rng = random.Random(4)
    files = sorted(os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names)
    touched = min(TOUCHED, len(files) // 4)
    picked = rng.sample(files, 2 * touched)
    for path in picked[:touched]:
        _record(path, rng)
    for path in picked[touched:]:
        os.remove(path)
    os.makedirs(os.path.join(root, "new"))
    for n in range(touched):
        _record(os.path.join(root, "new", f"{n:07d}.rec"), rng)

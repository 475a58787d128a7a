#!/usr/bin/env python3
"""Prints resize_vectors.def: what Pillow makes of a known pattern. Pillow is needed to run this, not to test."""
import numpy as np
from PIL import Image

# source width and height, mode, output width and height, resize kind, resize_side
CASES = [
    (8, 6, 'RGB', 4, 3, 'stretch', 0), (5, 7, 'RGB', 9, 4, 'stretch', 0), (33, 17, 'RGB', 33, 8, 'stretch', 0),
    (33, 17, 'RGB', 12, 17, 'stretch', 0), (33, 17, 'RGB', 33, 17, 'stretch', 0), (1, 1, 'RGB', 5, 3, 'stretch', 0),
    (224, 224, 'RGB', 128, 128, 'stretch', 0), (640, 480, 'RGB', 96, 96, 'stretch', 0), (31, 29, 'RGB', 100, 77, 'stretch', 0),
    (640, 480, 'L', 32, 32, 'stretch', 0), (50, 40, 'L', 61, 13, 'stretch', 0),
    (640, 480, 'RGB', 224, 224, 'shortest', 256), (333, 500, 'RGB', 224, 224, 'shortest', 256), (500, 375, 'RGB', 224, 224, 'shortest', 224),
    (61, 200, 'RGB', 32, 32, 'shortest', 35), (201, 61, 'RGB', 33, 31, 'shortest', 0), (3, 1000, 'RGB', 16, 16, 'shortest', 20),
    (640, 480, 'RGB', 128, 128, 'letterbox', 0), (100, 333, 'RGB', 128, 96, 'letterbox', 0), (7, 5, 'RGB', 64, 64, 'letterbox', 0),
]
PAD = 114

def pattern(w, h, channels):
    y, x, c = np.mgrid[0:h, 0:w, 0:channels]
    return ((x * 7 + y * 13 + c * 29 + (x * y) % 11 * 17 + (x // 5 + y // 3) % 2 * 90) & 255).astype(np.uint8)

def place(im, w, h):
    """Centres a picture on w x h: cuts what is too much (halves to even), pads what is too little (halves down)."""
    out = Image.new('RGB', (w, h), (PAD,) * 3)
    x = -int(round((im.width - w) / 2)) if im.width >= w else (w - im.width) // 2
    y = -int(round((im.height - h) / 2)) if im.height >= h else (h - im.height) // 2
    out.paste(im, (x, y))
    return out

def resize(im, w, h, kind, side):
    if kind == 'stretch':
        return im.resize((w, h), Image.BILINEAR)
    if kind == 'shortest':
        side = side or min(w, h)
        short, long = min(im.size), max(im.size)
        size = (side, int(side * long / short)) if im.width <= im.height else (int(side * long / short), side)
    else:
        scale = min(w / im.width, h / im.height)
        size = (max(1, int(im.width * scale + .5)), max(1, int(im.height * scale + .5)))
    return place(im.resize(size, Image.BILINEAR), w, h)

def fnv(data):
    v = 0xcbf29ce484222325
    for b in data:
        v = (v ^ b) * 0x100000001b3 & 0xffffffffffffffff
    return v

print('/* Made by make_vectors.py with Pillow %s: */' % Image.__version__)
print('/* RESIZE_VECTOR(source width, height, channels, width, height, resize, resize_side, FNV-1a of the pixels) */')
for w, h, mode, ow, oh, kind, side in CASES:
    a = pattern(w, h, 3 if mode == 'RGB' else 1)
    im = Image.fromarray(a if mode == 'RGB' else a[:, :, 0])
    out = resize(im, ow, oh, kind, side)
    print('RESIZE_VECTOR(%d, %d, %d, %d, %d, LEGO_RESIZE_%s, %d, UINT64_C(0x%016x))' %
          (w, h, a.shape[2], ow, oh, kind.upper(), side, fnv(out.tobytes())))

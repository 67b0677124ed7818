"""Small valid pictures in every form that is read, some of them made by hand."""

import functools
import io
import struct
import zlib

import numpy as np
from pictures import photograph
from PIL import Image, PngImagePlugin, features

SIZE = (40, 30)  # px, (width, height)


def _saved(image, kind, **options):
    buffer = io.BytesIO()
    # Copies, since what an encoder was told stays with the image and confuses the next.
    if "append_images" in options:
        options["append_images"] = [other.copy() for other in options["append_images"]]
    image.copy().save(buffer, kind, **options)
    return buffer.getvalue()


def _exif():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 1.5)
    return exif


def png_chunk(kind, content):
    """A chunk of a PNG, with its right check sum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _interlaced(pixels):
    """A PNG in the seven passes of Adam7, which Pillow reads and does not write."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(
        b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::right]) for top, left, down, right in passes
    )
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def tiff(entries, content=b""):
    """A little-endian TIFF of one directory, whose content begins at byte 8.

    Args:
        entries: tag -> (field type, its values).
        content: what the entries point at.
    """
    codes = {1: "B", 2: "s", 3: "H", 4: "I", 12: "d"}
    content += b"\0" * (len(content) % 2)
    directory, beyond = b"", b""
    start = 8 + len(content) + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}{codes[kind]}", *values)
        if len(packed) > 4:
            packed, beyond = struct.pack("<I", start + len(beyond)), beyond + packed
        directory += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<I", 8 + len(content))
    return head + content + struct.pack("<H", len(entries)) + directory + b"\0\0\0\0" + beyond


def _tiled(pixels, *, compressed=False, planes=False):
    """A TIFF in tiles of 16 px, which Pillow reads and does not write."""
    rows, columns = -(-pixels.shape[0] // 16), -(-pixels.shape[1] // 16)
    padded = np.zeros((rows * 16, columns * 16, 3), np.uint8)
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    layers = [padded[..., [band]] for band in range(3)] if planes else [padded]
    tiles = [
        np.ascontiguousarray(layer[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]).tobytes()
        for layer in layers
        for row in range(rows)
        for column in range(columns)
    ]
    tiles = [zlib.compress(tile) for tile in tiles] if compressed else tiles
    sizes = [len(tile) for tile in tiles]
    places = np.cumsum([8, *sizes[:-1]]).tolist()
    entries = {256: (3, [pixels.shape[1]]), 257: (3, [pixels.shape[0]]), 258: (3, [8] * 3), 262: (3, [2])}
    entries |= {259: (3, [8 if compressed else 1]), 277: (3, [3]), 284: (3, [2 if planes else 1])}
    entries |= {322: (3, [16]), 323: (3, [16]), 324: (4, places), 325: (4, sizes)}
    return tiff(entries, b"".join(tiles))


def bmp_rle(width, height, codes):
    """A BMP with 256 greys, compressed by run lengths."""
    palette = b"".join(bytes((grey, grey, grey, 0)) for grey in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(codes), 0, 0, 256, 256)
    return b"BM" + struct.pack("<IHHI", 1078 + len(codes), 0, 0, 1078) + header + palette + codes


def _run_lengths(pixels):
    lines = [b"".join(bytes((1, grey)) for grey in row) + b"\0\0" for row in pixels[::-1].tolist()]
    return bmp_rle(pixels.shape[1], pixels.shape[0], b"".join(lines) + b"\0\1")


def _texts(image):
    pixels = np.asarray(image)
    header = f"{pixels.shape[1]} {pixels.shape[0]}\n".encode()
    numbers = " ".join(map(str, pixels.ravel().tolist())).encode()
    bits = " ".join(str(value) for value in (pixels[..., 0] > 128).astype(int).ravel()).encode()
    wide = (pixels.astype(">u2") * 100).tobytes()
    return {
        "plain.ppm": b"P3\n" + header + b"255\n" + numbers,
        "plain.pbm": b"P1\n# a comment\n" + header + bits,
        "wide.ppm": b"P6\n" + header + b"25500\n" + wide,
        "wide.pgm": b"P5\n" + header + b"65535\n" + wide[: 2 * pixels.shape[0] * pixels.shape[1]],
    }


def _jpegs(image, other):
    return {
        "baseline.jpg": _saved(image, "JPEG"),
        "full.jpg": _saved(image, "JPEG", subsampling=0, restart_marker_blocks=2, comment=b"a comment"),
        "progressive.jpg": _saved(image, "JPEG", progressive=True),
        "inks.jpg": _saved(image.convert("CMYK"), "JPEG"),
        "grey.jpg": _saved(image.convert("L"), "JPEG", optimize=True),
        "turned.jpg": _saved(image, "JPEG", exif=_exif(), icc_profile=bytes(300), dpi=(72, 72)),
        "several.jpg": _saved(image, "MPO", save_all=True, append_images=[other]),
    }


def _pngs(image, other):
    pixels, info = np.asarray(image), PngImagePlugin.PngInfo()
    info.add_text("a key", "a text " * 20, zip=True)
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="3"/>')
    wide = np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE[1], SIZE[0]) * 50
    deep = b"".join(b"\0" + row.tobytes() for row in pixels.astype(">u2") * 256)
    header = struct.pack(">IIBBBBB", *SIZE, 16, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(deep)), (b"IEND", b"")
    return {
        "plain.png": _saved(image, "PNG"),
        "alpha.png": _saved(image.convert("RGBA"), "PNG", exif=_exif(), icc_profile=bytes(300)),
        "palette.png": _saved(image.quantize(16), "PNG", transparency=3),
        "bits.png": _saved(image.convert("1"), "PNG"),
        "wide.png": _saved(Image.fromarray(wide), "PNG"),
        "deep.png": b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts),
        "texts.png": _saved(image.convert("LA"), "PNG", pnginfo=info),
        "moving.png": _saved(image, "PNG", save_all=True, append_images=[other], default_image=True),
        "interlaced.png": _interlaced(pixels),
    }


def _tiffs(image, other):
    pixels, grey = np.asarray(image), image.convert("L")
    ways = ("raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits", "zstd", "lzma")
    found = {f"{way}.tif": functools.partial(_saved, image, "TIFF", compression=way) for way in ways}
    found |= {
        f"{way}.tif": functools.partial(_saved, image.convert("1"), "TIFF", compression=way)
        for way in ("group3", "group4", "tiff_ccitt")
    }
    found |= {
        "pages.tif": functools.partial(
            _saved, image, "TIFF", save_all=True, append_images=[other], compression="tiff_lzw"
        ),
        "big.tif": functools.partial(_saved, image, "TIFF", big_tiff=True),
        "inks.tif": functools.partial(_saved, image.convert("CMYK"), "TIFF", compression="tiff_lzw"),
        "luma.tif": functools.partial(_saved, image.convert("YCbCr"), "TIFF", compression="tiff_deflate"),
        "alpha.tif": functools.partial(_saved, image.convert("RGBA"), "TIFF", exif=_exif()),
        "palette.tif": functools.partial(_saved, image.quantize(16), "TIFF", compression="packbits"),
        "wide.tif": functools.partial(_saved, grey.convert("I;16"), "TIFF", compression="tiff_lzw"),
        "whole.tif": functools.partial(_saved, grey.convert("I"), "TIFF"),
        "float.tif": functools.partial(_saved, grey.convert("F"), "TIFF", compression="tiff_lzw"),
        "tiled.tif": functools.partial(_tiled, pixels),
        "tiled deflate.tif": functools.partial(_tiled, pixels, compressed=True),
        "tiled planes.tif": functools.partial(_tiled, pixels, compressed=True, planes=True),
    }
    return found


def _others(image, other):
    grey, alpha, several = image.convert("L"), image.convert("RGBA"), {"save_all": True, "append_images": [other]}
    found = {
        "plain.gif": functools.partial(_saved, image, "GIF", interlace=False),
        "moving.gif": functools.partial(_saved, image, "GIF", comment=b"a comment", transparency=3, **several),
        "plain.bmp": functools.partial(_saved, image, "BMP"),
        "palette.bmp": functools.partial(_saved, image.quantize(16), "BMP"),
        "bits.bmp": functools.partial(_saved, image.convert("1"), "BMP"),
        "alpha.bmp": functools.partial(_saved, alpha, "BMP"),
        "plain.dib": functools.partial(_saved, image, "DIB"),
        "lengths.bmp": functools.partial(_run_lengths, np.asarray(grey)),
        "plain.webp": functools.partial(_saved, image, "WEBP", quality=60),
        "exact.webp": functools.partial(_saved, alpha, "WEBP", lossless=True),
        "alpha.webp": functools.partial(_saved, alpha, "WEBP", exif=_exif(), icc_profile=bytes(300)),
        "moving.webp": functools.partial(_saved, image, "WEBP", duration=40, **several),
        "raw.ppm": functools.partial(_saved, image, "PPM"),
        "raw.pgm": functools.partial(_saved, grey, "PPM"),
        "raw.pbm": functools.partial(_saved, image.convert("1"), "PPM"),
        "exact.jp2": functools.partial(_saved, image, "JPEG2000"),
        "lossy.jp2": functools.partial(
            _saved, image, "JPEG2000", irreversible=True, quality_layers=[20, 5], tile_size=(16, 16)
        ),
        "alpha.jp2": functools.partial(_saved, alpha, "JPEG2000", num_resolutions=3),
        "wide.jp2": functools.partial(_saved, grey.convert("I;16"), "JPEG2000"),
        "stream.jp2": functools.partial(_saved, image, "JPEG2000", no_jp2=True, progression="RPCL"),
    }
    if features.check("avif"):
        found |= {
            "plain.avif": functools.partial(_saved, image, "AVIF", quality=50, speed=10),
            "alpha.avif": functools.partial(_saved, alpha, "AVIF", exif=_exif(), speed=10),
            "moving.avif": functools.partial(_saved, image, "AVIF", speed=10, **several),
        }
    return found


@functools.cache
def sound_pictures():
    """Name -> bytes of a picture in each form that can be written here."""
    rng = np.random.default_rng(0)
    image, other = photograph(rng, SIZE), photograph(rng, SIZE, 1)
    found = _jpegs(image, other) | _pngs(image, other) | _texts(image)
    for name, write in (_tiffs(image, other) | _others(image, other)).items():
        try:
            found[name] = write()
        except (KeyError, OSError, ValueError, RuntimeError):  # this build of Pillow does not write it
            continue
    return found


def _jpeg_of_scans(n):
    """A progressive JPEG in which the smallest scan is there n times more."""
    whole = _saved(Image.new("L", (64, 64), 7), "JPEG", progressive=True)
    head, *scans = whole.removesuffix(b"\xff\xd9").split(b"\xff\xda")
    return b"\xff\xda".join([head, *scans, *[min(scans, key=len)] * n]) + b"\xff\xd9"


def _jpeg2000_of_tiles(side):
    """A JPEG 2000 of one grey, with a tile for each pixel."""
    whole = _saved(Image.new("L", (16, 16), 3), "JPEG2000", no_jp2=True)
    at = whole.index(b"\xff\x51") + 6
    return whole[:at] + struct.pack(">8I", side, side, 0, 0, 1, 1, 0, 0) + whole[at + 32 :]


def hostile_pictures():
    """Name -> bytes of a small file that would cost its decoder minutes or gigabytes, and why it is refused."""
    grey = {256: (4, [16]), 257: (4, [16]), 258: (3, [8]), 259: (3, [5]), 262: (3, [1]), 277: (3, [1])}
    tiles = {322: (4, [65536]), 323: (4, [8192]), 324: (4, [8]), 325: (4, [1000])}
    strips = {273: (4, [8]), 278: (4, [16]), 279: (4, [256])}
    long, deep = (
        struct.pack(">IIBBBBB", 2_000_000, 1, 8, 0, 0, 0, 0),
        struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0),
    )
    rest = png_chunk(b"IDAT", zlib.compress(bytes(2_000_001))) + png_chunk(b"IEND", b"")
    return {
        "tiles.tif": (tiff(grey | tiles, bytes(1000)), "tiles of 65536 x 8192 px"),
        "samples.tif": (tiff(grey | strips | {277: (4, [100_000])}, bytes(256)), "not a picture"),
        "lengths.bmp": (bmp_rle(9_000, 9_000, b"\0\0" * 9_000 + b"\0\1"), "run lengths"),
        "long lengths.bmp": (bmp_rle(80_000_000, 1, b"\0\2\xff\xff" * 50), "a side of over 1 million"),
        "long.png": (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", long) + rest, "a side of over 1 million"),
        "large.png": (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", deep) + rest, "over 89 million px"),
        "scans.jpg": (_jpeg_of_scans(5_000), "too many scans"),
        "tiles.jp2": (_jpeg2000_of_tiles(250), "tiles"),
    }

"""Which files are pictures, by their suffixes in lower case."""

LABEL_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

# Pillow reads these too. Data sets keep previews beside images in some, so that one never takes the place of the above.
FURTHER_SUFFIXES = (
    ".jfif", ".jpe", ".mpo", ".avif", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc", ".gif", ".apng", ".dib",
    ".ppm", ".pgm", ".pnm", ".tga", ".qoi",
)  # fmt: skip
IMAGE_SUFFIXES = LABEL_SUFFIXES + FURTHER_SUFFIXES

UNREAD_SUFFIXES = (
    ".heic", ".heif", ".hif", ".jxl", ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".psd",
    ".exr", ".hdr",
)  # fmt: skip

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".3gp",
)  # fmt: skip

"""Pictures for training and evaluation, from whatever container they are kept in; torch is not needed.

Example:
    from padinv.picture_sources import open_pictures

    source = open_pictures("ffhq.zip")
    pixels = source.read(0, 256)  # uint8 RGB [256, 256, 3]
"""

from padinv.picture_sources.opening import open_named, open_pictures
from padinv.picture_sources.source import PictureSource, printable

__all__ = ["PictureSource", "open_named", "open_pictures", "printable"]

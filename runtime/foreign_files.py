"""What a file of another program is, by its first bytes: so that an error can say whose file was given."""

from __future__ import annotations

_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"\x93NUMPY", "is a NumPy array (.npy), as projectors, pSp and InterFaceGAN write latent codes and directions"),
    (b"\x89PNG", "is a PNG picture"),
    (b"\xff\xd8\xff", "is a JPEG picture"),
    (b"GIF8", "is a GIF picture"),
    (b"\x89HDF", "is an HDF5 file (Keras, or MATLAB's .mat)"),
    (b"MATLAB", "is a MATLAB file (.mat)"),
    (b"GGUF", "is a GGUF file (llama.cpp)"),
    (b"%PDF", "is a PDF document"),
    (b"7z\xbc\xaf", "is a 7-Zip archive"),
    (b"Rar!", "is a RAR archive"),
    (b"\x1f\x8b", "is a gzip archive"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself (fetch it with: git lfs pull)"),
    (b"\x80", "is a pickle, as torch.save of old and NVIDIA's programs write one"),
)
HEAD_BYTES = 64


def foreign_file(head: bytes) -> str | None:
    """What a file that begins with `head` (64 bytes are enough) is, as a clause: 'is a PNG picture'; None: unknown."""
    for magic, what in _KINDS:
        if head.startswith(magic):
            return what
    if head.startswith(b"PK\x03\x04"):
        name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        if name.endswith(b".npy"):
            return "is an archive of NumPy arrays (.npz), as GANSpace and projectors write latent codes and directions"
        if b"data.pkl" in name or name.startswith(b"archive/"):
            return "is a torch file (.pt, .pth), as torch.save writes one"
        return "is a ZIP archive"
    if head[4:12] in (b"ftypheic", b"ftypavif"):
        return "is a HEIC or AVIF picture"
    return None

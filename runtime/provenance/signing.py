"""C2PA: manifests that are signed with the user's certificate (package c2pa-python, extra `padinv[c2pa]`).

Nothing is asked of a network: no time-stamp authority, no remote manifests, no revocation lists.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from padinv.runtime.errors import InputError, MissingPackageError, UsageError
from padinv.runtime.files import read_regular, sha256_bytes
from padinv.runtime.images.formats import sniff
from padinv.runtime.provenance.containers import has_c2pa
from padinv.runtime.provenance.record import padinv_version

_MIME = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_MAX_PEM = 1 << 20
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
# By default the library asks addresses that a file names; a picture must not make padinv call anybody.
_SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False},
    "builder": {"thumbnail": {"enabled": False}},
}


def _library() -> Any:
    try:
        import c2pa
    except ImportError as error:
        raise MissingPackageError("c2pa-python", "c2pa", "signing pictures") from error
    return c2pa


@dataclass(frozen=True)
class Signer:
    """Signs pictures. It holds paths, so that it can be sent to other processes without the key.

    Attributes:
        certificate: PEM file: the signer's certificate, then those between it and its root.
        key: PEM file of its private key, not encrypted.
    """

    certificate: Path
    key: Path

    @classmethod
    def open(cls, certificate: Path, key: Path) -> Signer:
        """A signer whose files were tried.

        Raises:
            MissingPackageError: c2pa-python is not installed. UsageError: the files do not fit together, or C2PA does
            not allow them.
        """
        signer = cls(certificate, key)
        signer._ready()
        return signer

    def fingerprint(self) -> str:
        """Changes with the certificate."""
        return sha256_bytes(_read(self.certificate))

    def sign(self, data: bytes, source_type: str) -> bytes:
        """A PNG, JPEG or WebP file with a manifest; any other file as it is.

        Args:
            source_type: URI of the digital source type.

        Raises:
            InputError: the library refuses.
        """
        kind = _MIME.get(sniff(data[:64]) or "")
        if kind is None:
            return data
        library, signer = self._ready()
        out = BytesIO()
        try:
            builder = library.Builder(_manifest(source_type), context=library.Context.from_dict(_SETTINGS))
            builder.sign(signer, kind, BytesIO(data), out)
        except library.C2paError as error:
            raise InputError(f"a picture could not be signed ({_line(error)}), so it was not written") from error
        return out.getvalue()

    def _ready(self) -> tuple[Any, Any]:
        library = _library()
        chain, key = _read(self.certificate), _read(self.key)
        algorithm = _algorithm(chain, self.certificate).encode()
        try:
            return library, library.Signer.from_info(library.C2paSignerInfo(algorithm, chain, key, None))
        except (library.C2paError, ValueError) as error:
            raise UsageError(
                f"{self.certificate} and {self.key} cannot sign ({_line(error)}); nothing was done"
            ) from error


def _manifest(source_type: str) -> dict[str, Any]:
    agent = {"name": "padinv", "version": padinv_version()}
    action = {"action": "c2pa.created", "digitalSourceType": source_type, "softwareAgent": agent}
    return {
        "claim_generator_info": [agent],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _MAX_PEM)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}; nothing was done") from error


def _algorithm(chain: bytes, path: Path) -> str:
    """The name of C2PA for the kind of a certificate's key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        key = x509.load_pem_x509_certificates(chain)[0].public_key()
    except ValueError as error:
        raise UsageError(f"{path} is not a certificate in PEM form; nothing was done") from error
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519"
    if isinstance(key, rsa.RSAPublicKey):
        return "PS256"
    raise UsageError(f"{path} has a key of a kind that C2PA does not sign with; nothing was done")


def read_manifest(data: bytes) -> dict[str, Any] | None:
    """What the C2PA manifest of a PNG, JPEG or WebP file says; None where it holds none.

    Returns:
        `state`: 'Trusted', 'Valid' (unchanged, by a signer that this machine does not know), 'Invalid', or 'unread'
        without c2pa-python; `signer`, `tool` and `problems`, where they are known.
    """
    if not has_c2pa(data):
        return None
    try:
        library = _library()
    except MissingPackageError:
        return {"state": "unread", "problems": ["pip install 'padinv[c2pa]' to check the manifest"]}
    kind = _MIME[sniff(data[:64]) or ""]
    try:
        reader = library.Reader(kind, BytesIO(data), context=library.Context.from_dict(_SETTINGS))
        manifest = reader.get_active_manifest() or {}
        results = (reader.get_validation_results() or {}).get("activeManifest", {})
        state = str(reader.get_validation_state())
    except (library.C2paError, json.JSONDecodeError) as error:
        return {"state": "Invalid", "problems": [_line(error)]}
    about = manifest.get("signature_info") or {}
    tools = manifest.get("claim_generator_info") or [{}]
    return {
        "state": state,
        "signer": about.get("common_name") or about.get("issuer"),
        "tool": " ".join(str(tools[0].get(key, "")) for key in ("name", "version")).strip(),
        "problems": [str(one.get("code")) for one in results.get("failure", [])],
    }


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]

"""A certificate of our own that C2PA accepts: a root, and a signer below it, with an ECDSA key."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

NAME = "padinv test signer"


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write chain.pem and key.pem; returns their paths. Needs `cryptography`, which c2pa-python brings."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def name(text: str) -> x509.Name:
        pairs = ((NameOID.ORGANIZATION_NAME, "padinv tests"), (NameOID.COMMON_NAME, text))
        return x509.Name([x509.NameAttribute(*pair) for pair in pairs])

    def certificate(subject: str, public: Any, *extensions: tuple[Any, bool]) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            subject_name=name(subject), issuer_name=name("root"), public_key=public,
            serial_number=x509.random_serial_number(), not_valid_before=datetime.datetime(2026, 1, 1),
            not_valid_after=datetime.datetime(2126, 1, 1),
        )  # fmt: skip
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(root_key, hashes.SHA256())

    def usage(**used: bool) -> x509.KeyUsage:
        names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                 "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
        return x509.KeyUsage(**{one: used.get(one, False) for one in names})

    root = certificate(
        "root", root_key.public_key(),
        (x509.BasicConstraints(True, None), True), (usage(key_cert_sign=True, crl_sign=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), False),
    )  # fmt: skip
    signer = certificate(
        NAME, key.public_key(),
        (x509.BasicConstraints(False, None), True), (usage(digital_signature=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    chain_file, key_file = folder / "chain.pem", folder / "key.pem"
    chain_file.write_bytes(signer.public_bytes(pem) + root.public_bytes(pem))
    plain = serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return chain_file, key_file

"""Files with Content Credentials, signed with certificates that are made here."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC).replace(microsecond=0)
VALID = (NOW - timedelta(days=2), NOW + timedelta(days=30))
PAST = (NOW - timedelta(days=40), NOW - timedelta(days=8))
AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
CAMERA = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
SETTINGS = {
    "verify": {"verify_after_sign": False},
    "builder": {"thumbnail": {"enabled": False}},  # small files
}


@dataclass(frozen=True)
class Identity:
    """A signer: a certificate, the authority that issued it, and the keys of both."""

    leaf: x509.Certificate
    root: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    root_key: ec.EllipticCurvePrivateKey

    @property
    def anchors(self) -> bytes:
        """Return the authority's certificate as PEM; whoever trusts it trusts the signer."""
        return _pem(self.root)


def make_identity(name: str = "Signer", authority: str = "Authority") -> Identity:
    """Return an identity with new keys."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    root = _certificate(authority, authority, root_key, root_key, VALID, is_authority=True)
    leaf = _certificate(name, authority, key, root_key, VALID)
    return Identity(leaf, root, key, root_key)


def sign(content: bytes, kind: str, identity: Identity, manifest: dict, **extra: object) -> bytes:
    """Return a file with credentials.

    Args:
        content: bytes of the file.
        kind: its MIME type.
        identity: the signer.
        manifest: the statements, in the format of the C2PA library.
        extra: `parent`, the bytes of the original file; `remote`, the address of a remote
            manifest; `trust`, PEM certificates that the signing program trusts.
    """
    secret = identity.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    chain = _pem(identity.leaf) + identity.anchors
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, secret, None))
    return _build(content, kind, signer, manifest, **extra)


def sign_expired(content: bytes, kind: str, identity: Identity, manifest: dict) -> bytes:
    """Return a file with credentials from an expired certificate.

    The library only signs with valid certificates, so an expired one of the same length replaces
    the valid one in the signed data and in the file.
    """
    valid = identity.leaf.public_bytes(serialization.Encoding.DER)
    expired = b""
    while len(expired) != len(valid):  # the signature's length varies
        expired = _certificate(
            "Signer", "Authority", identity.key, identity.root_key, PAST
        ).public_bytes(serialization.Encoding.DER)

    def sign_old(data: bytes) -> bytes:
        signature = identity.key.sign(data.replace(valid, expired), ec.ECDSA(hashes.SHA256()))
        return b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(signature))

    signer = c2pa.Signer.from_callback(
        sign_old, c2pa.C2paSigningAlg.ES256, (_pem(identity.leaf) + identity.anchors).decode()
    )
    return _build(content, kind, signer, manifest).replace(valid, expired)


def statement(
    source_type: str = AI, action: str = "c2pa.created", generator: str = "Paint Machine"
) -> dict:
    """Return a manifest that states how a picture was made."""
    actions = [{"action": action, "digitalSourceType": source_type}]
    return {
        "claim_generator_info": [{"name": generator, "version": "3"}],
        "title": "picture",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": actions}}],
    }


def _build(
    content: bytes,
    kind: str,
    signer: c2pa.Signer,
    manifest: dict,
    *,
    parent: bytes | None = None,
    remote: str = "",
    trust: bytes = b"",
) -> bytes:
    settings = SETTINGS | ({"trust": {"trust_anchors": trust.decode()}} if trust else {})
    builder = c2pa.Builder(manifest, c2pa.Context.from_dict(settings))
    if parent:
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
        ingredient = {"title": "before.jpg", "relationship": "parentOf"}
        builder.add_ingredient(ingredient, "image/jpeg", io.BytesIO(parent))
    if remote:
        builder.set_remote_url(remote)
    signed = io.BytesIO()
    builder.sign(signer, kind, io.BytesIO(content), signed)
    return signed.getvalue()


def _certificate(name, issuer, key, issuer_key, validity, *, is_authority=False):
    usages = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    usages |= {"encipher_only": False, "decipher_only": False}
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(4711)
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_authority,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                **usages,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False
        )
    )
    if not is_authority:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{name} Ltd"),
        ]
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)

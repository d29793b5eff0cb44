"""Certificates for mutual TLS, made when they are needed and kept in memory: one authority per lab, one for each pod.

A certificate says who a pod is by a SPIFFE id, as Istio's do: ``spiffe://cluster.local/ns/NAMESPACE/sa/NAME``.
"""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kmesh_lab.traffic.envoy_config import TRUST_DOMAIN, Certificate

__all__ = ["Authority", "spiffe_id"]

_DAY = datetime.timedelta(days=1)


def spiffe_id(namespace: str, name: str) -> str:
    """Who a pod is; the lab gives every pod a service account of its own name."""
    return f"{TRUST_DOMAIN}ns/{namespace}/sa/{name}"


class Authority:
    """Signs the certificates of one lab, and of no other."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Kmesh Lab")])
        authority = x509.BasicConstraints(ca=True, path_length=0)
        self._certificate = (
            self._builder(self._name, self._key)
            .add_extension(authority, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(self, namespace: str, name: str) -> Certificate:
        """A certificate for a pod, good as client and as server."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        identity = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id(namespace, name))])
        certificate = (
            self._builder(x509.Name([]), key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(identity, critical=True)  # it is all there is: the subject is empty
            .sign(self._key, hashes.SHA256())
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Certificate(_pem(certificate), pem.decode(), _pem(self._certificate))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + 30 * _DAY)
        )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()

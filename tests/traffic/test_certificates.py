"""Certificates of pods: who they name, what they are good for, who trusts them."""

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtensionOID

from kmesh_lab.traffic.certificates import Authority


def load(pem):
    return x509.load_pem_x509_certificate(pem.encode())


def test_a_certificate_names_the_pod_by_its_spiffe_id_and_is_signed_by_its_authority():
    certificate = Authority().issue("shop", "inventory-a")

    leaf, authority = load(certificate.chain), load(certificate.authority)
    names = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://cluster.local/ns/shop/sa/inventory-a"
    ]
    leaf.verify_directly_issued_by(authority)
    assert "PRIVATE KEY" in certificate.key
    assert "PRIVATE" not in repr(certificate)


def test_two_labs_do_not_trust_each_other():
    mine, yours = Authority().issue("shop", "a"), Authority().issue("shop", "a")

    with pytest.raises(InvalidSignature):
        load(mine.chain).verify_directly_issued_by(load(yours.authority))

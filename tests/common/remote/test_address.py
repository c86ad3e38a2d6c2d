import pytest

from common.remote.address import Address, address_fault

SECRET = "https://anna:s3cr%40t@example.org:8443/a%20b/S1.svs?X-Amz-Signature=abcdef0123&part=one#frag"


def test_s3_what_is_shown_has_neither_user_nor_password_nor_query():
    address = Address(SECRET)
    assert address.shown == "https://example.org:8443/a%20b/S1.svs"
    assert repr(address) == str(address) == "Address(https://example.org:8443/a%20b/S1.svs)"
    assert address.login == ("anna", "s3cr@t")
    assert address.request_target == "https://example.org:8443/a%20b/S1.svs?X-Amz-Signature=abcdef0123&part=one"
    assert (address.ending, address.host, address.scheme) == (".svs", "example.org:8443", "https")


def test_s3_messages_of_libraries_lose_what_must_not_be_shown():
    address = Address(SECRET)
    said = address.cleaned(f"OSError: {SECRET} by anna with s3cr@t or s3cr%40t and abcdef0123 failed")
    assert not any(secret in said for secret in ("anna", "s3cr", "abcdef0123"))
    assert "example.org" in said


def test_a_new_signature_is_the_same_slide_and_another_id_is_another():
    one, other = (Address(f"https://e.org/S1.svs?sig={sig}") for sig in "ab")
    assert one.key("S1") == other.key("S1") != one.key("S2")
    assert one.key("S1") != Address("https://e.org/S2.svs").key("S1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("S1.svs", "is no address"), ("/folder/S1.svs", "is no address"), ("C:\\S1.svs", "is no address"),
        ("https:/e.org/S1.svs", "is no address"), ("https:///S1.svs", "names no server"),
        ("https://e.org:port/S1.svs", "is no address"),
        ("https://[e/S1.svs", "is no address"), ("https://e.org/a b.svs", "has a space"), ("file://", "names no file"),
        ("simplecache::s3://b/S1.svs", "::"), ("zip://S1.svs::s3://b/x.zip", "::"),
    ],
)  # fmt: skip
def test_what_is_no_address_is_told_without_repeating_it(text, said):
    fault = address_fault(text)
    assert said in fault
    assert len(text) < 8 or text not in fault


@pytest.mark.parametrize(
    "text",
    [
        "https://e.org/S1.svs",
        "s3://bucket/a/S1.ndpi",
        "gs://b/S1",
        "memory://S1.tif",
        "file:///a/S1.svs",
        "HTTP://e.org/x?id=3",
    ],
)
def test_addresses_are_none_at_fault(text):
    assert address_fault(text) == ""

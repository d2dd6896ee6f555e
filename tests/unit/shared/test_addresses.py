"""Which URLs lead into the public internet, decided by their words and addresses alone: nothing is called."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.addresses import LONGEST_URL, Endpoint, endpoint_of, is_public, masked_url
from shared.settings import WEB_PORTS

INSIDE = [
    "0.0.0.0",  # noqa: S104  # nobody binds here
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::127.0.0.1",
    "100::1",
    "2001::7f00:1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
OUTSIDE = [
    "8.8.8.8",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "192.169.0.1",
    "2606:4700::1",
]


def allowed(url: str) -> Endpoint:
    return endpoint_of(url, private=False)


def literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", INSIDE)
def test_a_url_of_an_address_inside_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="no address of the public internet"):
        allowed(f"http://{literal(address)}/")


@pytest.mark.parametrize("address", INSIDE)
def test_inside_is_allowed_where_the_operator_says_so(address: str) -> None:
    assert endpoint_of(f"http://{literal(address)}:9999/", private=True).port == 9999


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_of_the_world_is_allowed(address: str) -> None:
    assert is_public(ip_address(address))
    assert allowed(f"http://{literal(address)}/").host == address


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0X7F000001",
        "0x7f.0.0.1",
        "0x7f.1",
        "0177.0.0.1",
        "0177.0.0.0x1",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "127.0.0.1.1",
        "127.0.0.256",
        "127.0.0.0x1",
        "0",
        "0.0",
        "0x",
        "00000000177.1",
        "4294967297",
        "a.b.1",
        "8.8.8.010",
        "134744072",
    ],
)
@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("dot", ["", "."])
def test_an_address_in_another_spelling_is_refused_wherever_it_leads(
    host: str, dot: str, *, private: bool
) -> None:
    """Readers do not agree on them: what is checked might not be what is connected to."""
    with pytest.raises(ValueError, match=r"unusual spelling|neither a name nor an address"):
        endpoint_of(f"http://{host}{dot}/", private=private)


@pytest.mark.parametrize("host", ["127.0.0.1.", "10.0.0.1.", "169.254.169.254."])
def test_a_dot_at_the_end_hides_no_address(host: str) -> None:
    with pytest.raises(ValueError, match="no address of the public internet"):
        allowed(f"http://{host}/")


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "LocalHost.", "a.localhost", "a.b.localhost.", "localhost:8080"],
)
def test_this_machine_s_own_name_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="this machine's name for itself"):
        allowed(f"http://{host}/")


def test_a_name_that_only_begins_or_ends_like_this_machine_s_is_another_s() -> None:
    assert allowed("https://localhost.example.org/").host == "localhost.example.org"
    assert allowed("https://notlocalhost/").host == "notlocalhost"


@pytest.mark.parametrize(
    "url",
    [
        "http://[fe80::1%eth0]/",
        "http://[fe80::1%25eth0]/",
        "http://[2606:4700::1%25lo]/",
        "http://[::1%1]/",
        "http://[127.0.0.1]/",
        "http://[v1.fe80]/",
        "http://[]/",
        "http://[::1/",
        "http://::1/",
        "http://[::1]a/",
        "http://[::1].example.org/",
        "http://[2606:4700::1].example.org/",
        "http://[2606:4700::1]80/",
        "http://example.org[2606:4700::1]/",
        "http://[::ffff:127.0.0.1.]/",
        "http://[0:0:0:0:0:0:0:0:1]/",
    ],
)
@pytest.mark.parametrize("private", [False, True])
def test_what_stands_in_brackets_is_one_plain_ipv6_address(url: str, *, private: bool) -> None:
    with pytest.raises(ValueError, match=r"URL|IPv6"):
        endpoint_of(url, private=private)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org@127.0.0.1/",
        "http://127.0.0.1@example.org/",
        "http://user:word@example.org/",
        "http://@example.org/",
        "http://example.org:80@127.0.0.1/",
        "http://example.org%40127.0.0.1/",
        "http://example.org\\@127.0.0.1/",
        "http://127.0.0.1\\@example.org/",
        "http:\\\\127.0.0.1\\",
        "http://example.org\\.127.0.0.1/",
        "http://example.org#@127.0.0.1\\",
        "http://exam\tple.org/",
        "http://exam\nple.org/",
        "http://127.0.0.1\t.example.org/",
        "http://example.org/\r\nHost: inside",
        "\thttp://example.org/",
        " http://example.org/",
        "http://example.org/a b",
        "http://example.org/\0",
        "http://example.org\x7f/",
        "http://example\u3002org/",
        "http://127\uff0e0\uff0e0\uff0e1/",
        "http://\u2460\u2461\u2466.0.0.1/",
        "http://ex\u00e4mple.org/",
        "http://localho\u017ft/",
        "http://example.org\u2028/",
        "http://%31%32%37.0.0.1/",
        "http://127.0.0.1%2f.example.org/",
        "http://127.0.0.1%00.example.org/",
        "http://localhost%23.example.org/",
        "http://exa$mple.org/",
        "http://example.org,127.0.0.1/",
        "http://example..org/",
        "http://.example.org/",
        "http://example.org../",
        "http://*.example.org/",
        f"http://{'a' * 64}.org/",
        f"http://{'a.' * 127}org/",
        "http://",
        "http:///etc/passwd",
        "http:/example.org/",
        "http:example.org",
        "http://:80/",
        "http://?x",
        "//example.org/",
        "example.org",
        "",
    ],
)
@pytest.mark.parametrize("private", [False, True])
def test_what_two_readers_could_read_in_two_ways_is_refused(url: str, *, private: bool) -> None:
    with pytest.raises(ValueError, match="URL"):
        endpoint_of(url, private=private)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "FILE://example.org/etc/passwd",
        "gopher://example.org:6379/_FLUSHALL",
        "dict://example.org:11211/",
        "ftp://example.org/",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "jar:http://example.org/!/a",
        "unix:/var/run/docker.sock",
        "ws://example.org/",
        "http+unix://example.org/",
        "https-://example.org/",
        "view-source:http://example.org/",
    ],
)
@pytest.mark.parametrize("private", [False, True])
def test_only_the_web_is_called(url: str, *, private: bool) -> None:
    with pytest.raises(ValueError, match="must begin with https:// or http://"):
        endpoint_of(url, private=private)


@pytest.mark.parametrize("url", ["HTTP://example.org/", "hTTpS://example.org/"])
def test_a_scheme_means_the_same_in_any_case(url: str) -> None:
    assert allowed(url).scheme == url.partition(":")[0].lower()


@pytest.mark.parametrize("port", [0, 1, 22, 25, 110, 2375, 3306, 5432, 6379, 8000, 9200, 11211, 65_535])
def test_only_the_web_s_ports_are_called(port: int) -> None:
    with pytest.raises(ValueError, match=f"port {port}"):
        allowed(f"http://example.org:{port}/")


@pytest.mark.parametrize("port", ["65536", "99999999999", "-1", "8o", "80a", "0x50", "\u0668\u0660"])
@pytest.mark.parametrize("private", [False, True])
def test_a_port_is_a_number_that_there_is(port: str, *, private: bool) -> None:
    with pytest.raises(ValueError, match="URL"):
        endpoint_of(f"http://example.org:{port}/", private=private)


def test_nobody_is_called_at_port_0() -> None:
    with pytest.raises(ValueError, match="port 0"):
        endpoint_of("http://example.org:0/", private=True)


def test_the_operator_says_which_ports_are_the_web_s() -> None:
    assert endpoint_of("http://example.org:9000/", private=False, ports=[9000]).port == 9000
    with pytest.raises(ValueError, match="port 80; allowed are 9000"):
        endpoint_of("http://example.org/", private=False, ports=[9000])


def test_a_url_may_be_so_long_and_no_longer() -> None:
    url = "https://example.org/".ljust(LONGEST_URL, "x")

    assert allowed(url).target == url.removeprefix("https://example.org")
    with pytest.raises(ValueError, match="2,049 characters"):
        allowed(f"{url}x")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org", Endpoint("https", "example.org", 443, "/")),
        ("http://Example.ORG:8080/A?b=C#d", Endpoint("http", "example.org", 8080, "/A?b=C")),
        ("http://example.org?x=1", Endpoint("http", "example.org", 80, "/?x=1")),
        ("http://example.org./", Endpoint("http", "example.org.", 80, "/")),
        ("http://xn--exmple-cua.org/%C3%A4", Endpoint("http", "xn--exmple-cua.org", 80, "/%C3%A4")),
        ("http://1and1.example/", Endpoint("http", "1and1.example", 80, "/")),
        ("http://[2606:4700:0:0::1]/", Endpoint("http", "2606:4700::1", 80, "/")),
        ("http://example.org/a@b", Endpoint("http", "example.org", 80, "/a@b")),
        ("http://example.org/../x", Endpoint("http", "example.org", 80, "/../x")),
    ],
)
def test_a_plain_url_is_taken_apart(url: str, expected: Endpoint) -> None:
    assert allowed(url) == expected


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.org/", "example.org"),
        ("https://example.org:443/", "example.org"),
        ("http://example.org:443/", "example.org:443"),
        ("http://[2606:4700::1]:8080/", "[2606:4700::1]:8080"),
    ],
)
def test_the_header_host_names_the_port_where_it_is_not_the_scheme_s(url: str, host: str) -> None:
    assert allowed(url).authority == host


@given(st.ip_addresses())
def test_what_the_standard_library_calls_special_is_not_public(address: IPv4Address | IPv6Address) -> None:
    assume(not address.is_global or address.is_multicast or address.is_reserved)

    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_is_reached_through_ipv6(address: IPv4Address) -> None:
    network, host = divmod(int(address), 2**16)
    for carrier in (
        f"::{address}",
        f"::ffff:{address}",
        f"64:ff9b::{address}",
        f"2002:{network:x}:{host:x}::1",
    ):
        assert not is_public(ip_address(carrier))


@given(st.text(max_size=80))
def test_whatever_is_written_is_refused_or_leads_outside(text: str) -> None:
    for url in (text, f"http://{text}", f"http://example.org{text}"):
        with suppress(ValueError):
            endpoint = allowed(url)
            assert (endpoint.scheme in ("http", "https"), endpoint.port in WEB_PORTS) == (True, True)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a/b.png?key=s3cret", "https://example.org/..."),
        ("https://example.org/", "https://example.org/"),
        ("https://example.org:8443/?key=s3cret", "https://example.org:8443/..."),
        ("https://you:s3cret@example.org/", "the URL"),
        ("s3cret", "the URL"),
    ],
)
def test_a_masked_url_shows_whose_it_is_and_no_more(url: str, shown: str) -> None:
    assert masked_url(url) == shown

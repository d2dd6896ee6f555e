from __future__ import annotations

import pytest

from shared.keys import hash_of, id_in, is_same, new_key, tenant_named


def test_no_two_keys_are_alike() -> None:
    made = [new_key() for _ in range(100)]

    assert len({key.id for key in made}) == len({key.token for key in made}) == 100
    assert all(key.token.startswith(f"ik_{key.id}_") for key in made)
    # 256 bits as base64url.
    assert {len(key.token.removeprefix(f"ik_{key.id}_")) for key in made} == {43}


def test_a_key_names_its_id_and_is_known_by_its_hash() -> None:
    key, other = new_key(), new_key()

    assert id_in(key.token) == key.id
    assert key.hash == hash_of(key.token)
    assert is_same(key.hash, key.token)
    assert not is_same(key.hash, other.token)


@pytest.mark.parametrize(
    "text",
    ["", "ik_", "ik_0123456789abcdef", f"{new_key().token}A", f" {new_key().token}", new_key().token[:-1],
     new_key().token.upper(), new_key().token.replace("ik_", "sk_")],
)  # fmt: skip
def test_what_does_not_look_like_a_key_has_no_id(text: str) -> None:
    assert id_in(text) is None


@pytest.mark.parametrize("name", ["acme", "a", "0", "a.b-c_d", "x" * 63])
def test_a_tenant_may_be_called_so(name: str) -> None:
    assert tenant_named(name) == name


@pytest.mark.parametrize("name", ["", "Acme", "-a", ".a", "a b", "a/b", "x" * 64, "ä", "a\n", "tenant:a"])
def test_a_tenant_may_not_be_called_so(name: str) -> None:
    with pytest.raises(ValueError, match="a tenant is named by"):
        tenant_named(name)

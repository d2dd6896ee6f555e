"""Writes the committed copy of the OpenAPI document: `make openapi`."""

from __future__ import annotations

from tests.openapi.served import COPY, served, text_of


def main() -> None:
    COPY.write_text(text_of(served()))


if __name__ == "__main__":
    main()

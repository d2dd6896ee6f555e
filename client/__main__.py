"""`iconotext` and `python -m client`."""

from client.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()

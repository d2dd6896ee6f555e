"""Become one process of the stack: tell the guardian, then turn into the command.

Run as `python -I -S launch.py FD COMMAND...`, so it imports nothing but the standard library. The guardian
learns of the group before the command's first instruction, and its pipe cannot end before that: this
process holds a writing end until the command takes its place. However early the supervisor is killed,
no process goes unguarded.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Announce this group and become the command."""
    pipe, *command = sys.argv[1:]
    try:
        os.write(int(pipe), f"+{os.getpid()}\n".encode())
        os.set_inheritable(int(pipe), False)
        os.execvp(command[0], command)  # noqa: S606  # no shell is wanted
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()

"""The one lookup idiom: a literal dict of entries, and an error that lists the known names."""

from collections.abc import Mapping
from typing import TypeVar

Entry = TypeVar("Entry")


def lookup(table: Mapping[str, Entry], name: str, *, kind: str) -> Entry:
    """Returns `table[name]`.

    Args:
      table: name → entry, such as `FAMILIES` or `OBJECTIVES`.
      name: the entry asked for.
      kind: what the table holds, for the error: "family", "objective", …

    Raises:
      KeyError: `name` is not in the table; the message lists what is.
    """
    if name not in table:
        raise UnknownNameError(f"unknown {kind} {name!r}; known: {', '.join(sorted(table))}")
    return table[name]


class UnknownNameError(KeyError):
    """A name that its table does not hold."""

    def __str__(self) -> str:  # KeyError would print the repr, quotes and all
        return self.args[0]

"""What a user can mend ends in one message; all other errors keep their traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

from configs.variants import VariantError
from genvec.prepared import DatasetNotPrepared
from genvec.registry import UnknownNameError
from genvec.store import DamageError, StoreError


class ConfigError(ValueError):
    """A setting or a flag that is missing, unknown or impossible."""


# An OSError comes from the disk and names the file; a FloatingPointError says what has diverged.
USER_ERRORS = (
    ConfigError,
    VariantError,
    StoreError,
    DatasetNotPrepared,
    OSError,
    FloatingPointError,
)


def mending(error: BaseException) -> str:
    """How to mend what an error tells of, where it is the same for all of its kind."""
    if isinstance(error, DamageError) and "run its experiment again" not in str(error):
        return (
            "; run the experiment that made the folder again, with its --config and --workdir: "
            "what is damaged is moved to damaged/ and made again"
        )
    return ""


@contextmanager
def named_section(section: str) -> Iterator[None]:
    """Says which part of the config an error came from.

    ValueError and unknown names are how the library refuses an argument; other errors are ours.
    """
    try:
        yield
    except (ValueError, UnknownNameError) as error:
        raise ConfigError(f"{section}: {error}") from error

"""Errors of huggingface_hub as sentences. An access token is never part of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from padinv.runtime.errors import HubError, OutputError
from padinv.runtime.hub.address import HubAddress
from padinv.runtime.hub.network import endpoint

_NETWORK = frozenset({"httpcore", "httpcore2", "httpx", "httpx2", "requests", "urllib3", "ssl", "socket"})
_LOGIN = "log in with: hf auth login (or set HF_TOKEN)"
_MOVED = "has changed meanwhile, so nothing was uploaded; look at it and run the command again"


@contextmanager
def hub_errors(address: HubAddress, name: str = "", *, bars: bool = False, conflict: str = _MOVED) -> Iterator[None]:
    """Turn the package's errors into sentences, and keep it from printing.

    Args:
        conflict: what is said after the name where the repository is not in the expected state.
    """
    from huggingface_hub import errors

    utils: Any = import_module("huggingface_hub.utils")

    what = f"{name} of {address}" if name else str(address)
    level, silent = utils.logging.get_verbosity(), utils.are_progress_bars_disabled()
    utils.logging.set_verbosity_error()
    if not bars and not silent:
        utils.disable_progress_bars()
    try:
        yield
    except errors.GatedRepoError as error:
        page = f"{endpoint()}/{address.repository}"
        raise HubError(f"{what} is gated: accept its terms at {page}, and {_LOGIN}; nothing was fetched") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{address.whole()} was not found on {endpoint()}: the name is wrong, or it is private; if it is yours, "
            f"{_LOGIN}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{address} does not exist: the repository has no such revision") from error
    except errors.EntryNotFoundError as error:
        raise HubError(f"{what} does not exist in this version of the repository") from error
    except errors.LocalTokenNotFoundError as error:
        raise HubError(f"{what} needs an access token; {_LOGIN}") from error
    except errors.HfHubHTTPError as error:
        raise HubError(_refused(error, what, conflict)) from error
    except (ConnectionError, TimeoutError) as error:
        raise _unreachable(what, error) from error
    except RuntimeError as error:  # of a worker of an upload, with the cause behind it
        cause = error.__cause__
        if not isinstance(cause, errors.HfHubHTTPError):
            raise
        raise HubError(_refused(cause, what, conflict)) from error
    except ValueError as error:
        raise HubError(f"{what} was refused: {' '.join(str(error).split())[:200]}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] in _NETWORK:
            raise _unreachable(what, error) from error
        if isinstance(error, OSError):
            raise _of_system(what, error) from error
        raise
    finally:
        utils.logging.set_verbosity(level)
        if not bars and not silent:
            utils.enable_progress_bars()


def _refused(error: Any, what: str, conflict: str) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    said = " ".join(str(getattr(error, "server_message", None) or "").split())[:200]
    said = f" ({said})" if said else ""
    if status in (401, 403):
        return f"the hub refused access to {what}{said}; {_LOGIN}, with a token that may do this"
    if status in (409, 412):
        return f"{what} {conflict}{said}"
    return f"{what} cannot be transferred: the hub answered {status or 'with an error'}{said}; try again later"


def _unreachable(what: str, error: BaseException) -> HubError:
    reason = type(error).__name__
    return HubError(
        f"{what} cannot be transferred: {endpoint()} does not answer ({reason}); check the connection and run the same "
        "command again (what arrived is kept)"
    )


def _of_system(what: str, error: OSError) -> HubError | OutputError:
    if error.errno is not None:
        return OutputError(f"{what} cannot be written: {error.strerror}; free space, or set PADINV_CACHE")
    return HubError(
        f"{what} was cut off before its end; run the same command again, which continues it (what arrived is kept)"
    )

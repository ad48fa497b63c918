"""What lies below an address in object storage, read and written through obstore; nothing else imports it.

Every call has a deadline. What goes wrong is told in a sentence that is the same each time, and so can be told once.
"""

import importlib.util
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from service.errors import SettingsError, StoreError, one_line
from service.objects.urls import Url

# Seconds to connect, between two bytes of an answer, for a whole answer to a question, and for a whole object.
_CONNECT_S: Final = 5
_SILENCE_S: Final = 20
_ANSWER_S: Final = 30
_OBJECT_S: Final = 3600
# A question is asked again this often, within so many seconds: the next look asks anyway.
_RETRIES: Final = 2
_RETRY_S: Final = 15
# More than any store has: a bucket that holds other things too is to be given with a prefix.
MOST_OBJECTS: Final = 100_000
_CHUNK: Final = 256 * 1024
_ENDPOINTS: Final = ("AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "GOOGLE_BASE_URL")
# Where a cloud's machines ask for credentials.
_METADATA: Final = re.compile(r"169\.254\.169\.254|metadata\.google|/oauth2/token|security-credentials|TokenRequest")


class Absent(StoreError):
    """There is no such bucket or object."""


class Forbidden(StoreError):
    """The bucket refuses access, or there are no credentials for it."""


class Replaced(StoreError):
    """The object is another one by now than the one that was asked for."""


class Exists(StoreError):
    """The object that was to be made already exists."""


@dataclass(frozen=True)
class Object:
    """One object of a list.

    Attributes:
        size: in bytes.
        e_tag: names its content; empty where the store gives none.
    """

    size: int
    e_tag: str = ""


class Bucket:
    """What lies below an address; names are relative to it.

    Args:
        url: the address.
        store: an obstore store of that address; made of the environment by `connect`.
    """

    def __init__(self, url: Url, store: Any, transfers: Any = None) -> None:
        """Ask nothing yet; `transfers` is the store for whole objects, whose deadline is longer."""
        self.url = url
        self._store = store
        self._transfers = transfers or store
        self._obstore = _library()

    def objects(self, name: str = "") -> dict[str, Object]:
        """All objects below a name, by their names, in order.

        What stands for a folder (an empty object that others lie below) is left out.

        Raises:
            Absent, Forbidden, StoreError: the bucket is missing, refuses, or can't be asked now.
        """
        found: dict[str, Object] = {}
        with self._telling(name):
            for batch in self._obstore.list(self._store, name or None, chunk_size=1000):
                for each in batch:
                    found[each["path"]] = Object(each["size"], each["e_tag"] or "")
                if len(found) > MOST_OBJECTS:
                    raise StoreError(
                        f"{self.url} contains more than {MOST_OBJECTS:,} objects; name the folder of the models in it."
                    )
        folders = {name[:at] for name in found for at, letter in enumerate(name) if letter == "/"} | {""}
        return {name: found[name] for name in sorted(found) if name not in folders or found[name].size}

    def find(self, name: str) -> Object | None:
        """One object; None where there is none of this name.

        Raises:
            Forbidden, StoreError: see `objects`.
        """
        try:
            with self._telling(name):
                found = self._obstore.head(self._store, name)
        except Absent:
            return None
        return Object(found["size"], found["e_tag"] or "")

    def chunks(self, name: str, known: Object) -> Iterator[bytes]:
        """The content of an object, if it is still the one that is known.

        Raises:
            Replaced: it is another one.
            Absent, Forbidden, StoreError: see `objects`; or it broke off.
        """
        size = 0
        with self._telling(name):
            options = {"if_match": known.e_tag} if known.e_tag else {}
            answer = self._obstore.get(self._transfers, name, options=options)
            if answer.meta["size"] != known.size:
                raise Replaced(f"{self.url.below(name)} was replaced while being fetched.")
            for chunk in answer.stream(min_chunk_size=_CHUNK):
                size += len(chunk)
                yield bytes(chunk)
        if size != known.size:
            raise StoreError(f"{self.url.below(name)} was cut short: {size:,} of {known.size:,} bytes arrived.")

    def read(self, name: str, known: Object | None = None) -> bytes:
        """The whole content of a small object; see `chunks`."""
        with self._telling(name):
            options = {"if_match": known.e_tag} if known is not None and known.e_tag else {}
            return bytes(self._obstore.get(self._store, name, options=options).bytes())

    def put(self, name: str, content: bytes | Path, *, new: bool = False, instead_of: Object | None = None) -> None:
        """Write an object; it appears whole or not at all.

        Args:
            name: its name.
            content: bytes, or the file that holds them.
            new: only if there is none of this name yet.
            instead_of: only in place of this one.

        Raises:
            Exists: there is one already.
            Replaced: there is another one.
            Absent, Forbidden, StoreError: see `objects`.
        """
        mode: Any = "create" if new else "overwrite"
        if instead_of is not None and instead_of.e_tag:
            mode = {"e_tag": instead_of.e_tag}
        store = self._transfers if isinstance(content, Path) else self._store
        with self._telling(name):
            try:
                self._obstore.put(store, name, content, mode=mode)
            except (NotImplementedError, self._obstore.exceptions.NotSupportedError):
                self._obstore.put(store, name, content)  # a server that knows no conditions

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects, one after the other; one that is gone is not an error.

        Raises:
            Absent, Forbidden, StoreError: see `objects`.
        """
        for name in names:
            with self._telling(name):
                try:
                    self._obstore.delete(self._store, name)
                except FileNotFoundError:
                    continue

    @contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        """Turn what obstore raises into errors of ours."""
        try:
            yield
        except (StoreError, GeneratorExit, KeyboardInterrupt, SystemExit):
            raise
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise Absent(f"There is no {self.url.below(name)}.") from error
            raise  # of the disk here
        except BaseException as error:  # a panic of its Rust part is not an Exception
            raise _in_our_words(error, self.url.below(name), self._obstore.exceptions) from error


def connect(url: Url) -> Bucket:
    """A bucket by its address, with the credentials and the endpoint of the environment; nothing is asked yet.

    Raises:
        SettingsError: the extra is not installed, or the environment is incomplete.
    """
    library = _library()
    options = {"connect_timeout": f"{_CONNECT_S}s", "read_timeout": f"{_SILENCE_S}s"}
    options |= _of_environment(os.environ)
    retry = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_S)}
    try:
        asked, transfers = (
            library.store.from_url(str(url), client_options={**options, "timeout": f"{limit_s}s"}, retry_config=retry)
            for limit_s in (_ANSWER_S, _OBJECT_S)
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of its Rust part is not an Exception
        hint = "set AZURE_STORAGE_ACCOUNT_NAME" if "MissingAccount" in str(error) else _first_line(error)
        raise SettingsError(f"{url} can't be reached with the environment as it is: {hint}.") from error
    return Bucket(url, asked, transfers)


def check_installed(what: str) -> None:
    """Make sure that buckets can be reached at all, without loading what reaches them.

    Args:
        what: is to be reached, for the message.

    Raises:
        SettingsError: the extra is not installed.
    """
    if importlib.util.find_spec("obstore") is None:
        raise SettingsError(f"{what} needs an extra that is not installed: pip install 'signpost-serving[objects]'.")


def endpoint(environment: Mapping[str, str]) -> str:
    """What the environment says of where buckets lie, so that two of the same name are told apart."""
    names = ("AZURE_STORAGE_ACCOUNT_NAME", *sorted(each for each in environment if each.startswith(_ENDPOINTS)))
    return " ".join(environment.get(name, "") for name in names)


def _library() -> Any:
    check_installed("A store in object storage")
    import obstore
    import obstore.exceptions
    import obstore.store

    return obstore


def _of_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """What obstore does not take from the environment by itself."""
    plain = any(value.startswith("http://") for name, value in environment.items() if name.startswith(_ENDPOINTS))
    found: dict[str, Any] = {"allow_http": True} if plain else {}
    if bundle := environment.get("AWS_CA_BUNDLE"):
        try:
            found["root_certificate"] = Path(bundle).read_bytes()
        except OSError as error:
            raise SettingsError(f"AWS_CA_BUNDLE names {bundle}, which can't be read: {error.strerror}.") from error
    return found


def _in_our_words(error: BaseException, where: Url, exceptions: Any) -> StoreError:
    text = str(error)
    if isinstance(error, exceptions.AlreadyExistsError):
        return Exists(f"{where} already exists.")
    if isinstance(error, exceptions.PreconditionError) or "409 Conflict" in text:
        return Replaced(f"{where} was replaced in the meantime.")
    if isinstance(error, exceptions.InvalidPathError):
        return StoreError(f"{where} contains an object whose name is not a path; rename it: {_first_line(error)}.")
    if _METADATA.search(text):
        return Forbidden(
            f"There are no credentials for {where.root}: neither the environment nor this machine provides any. "
            "docs/object-storage.md lists the variables."
        )
    if "NoSuchBucket" in text or "ContainerNotFound" in text or "The specified bucket does not exist" in text:
        return Absent(f"There is no bucket {where.root}.")
    refused = isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError)
    if refused or "403 Forbidden" in text or "401 Unauthorized" in text:
        code = re.search(r"<Code>(\w+)</Code>", text)
        return Forbidden(f"{where} is refused ({code[1] if code else 'forbidden'}); check the credentials.")
    if "404 Not Found" in text:
        return Absent(f"There is no bucket {where.root}, or the endpoint does not speak its protocol.")
    if "TimedOut" in text or "timed out" in text:
        return StoreError(f"{where} did not answer in time.")
    if "error sending request" in text or "Connect" in text:
        return StoreError(f"{where} can't be reached: no connection.")
    if "Body" in text or "Decode" in text or "IncompleteMessage" in text:
        return StoreError(f"{where} was cut short.")
    return StoreError(f"{where} can't be read or written: {_first_line(error)}.")


def _first_line(error: BaseException) -> str:
    """What it says, without what is different each time."""
    line = str(error).partition("\n")[0]
    return one_line(re.sub(r" in [\d.]+[mµn]?s\b.*?(?= - |$)", "", line)).rstrip(".")[:300]

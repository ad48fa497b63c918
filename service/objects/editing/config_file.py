"""The configuration of a store, in a folder or in a bucket, for commands that look at it and change it."""

import posixpath
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from service.config.config_edit import ConfigFile
from service.config.config_source import CONFIG_NAME
from service.config.model_config import ModelConfig
from service.errors import SettingsError, SignpostError, StoreError
from service.objects import publishing, urls
from service.objects.bucket import Bucket, Exists, Object, Replaced, connect
from service.objects.editing.sketch import Sketch
from service.objects.mirror.configs import localised, to_text
from service.objects.mirror.fetching import fetch
from service.objects.urls import Url

_ATTEMPTS: Final = 5
_OTHERS: Final = ".others"
_BEFORE: Final = f"{CONFIG_NAME}.before"


@contextmanager
def opened(where: Path, file: Path | None = None) -> Iterator[ConfigFile]:
    """The configuration of a store; of one in a bucket a sketch is drawn for as long as the block lasts.

    Args:
        where: the store.
        file: `--model_config_file`, if it is not the store's own.

    Raises:
        SettingsError: the address is none, or does not go with a file.
        StoreError: the bucket can't be read.
    """
    url = urls.parse(where, "--store")
    if url is None:
        yield ConfigFile(where, file)
        return
    if file is not None:
        raise SettingsError(
            f"A store in object storage has its own models.config: leave out --model_config_file with --store {url}."
        )
    with tempfile.TemporaryDirectory(prefix="signpost-") as folder:
        yield BucketConfigFile(url, Path(folder).resolve())


class BucketConfigFile(ConfigFile):
    """The configuration of a store in a bucket, changed in a sketch and then put in place of the one that was read.

    Args:
        url: the store.
        folder: an empty folder for the sketch.
        reach: makes a bucket of an address.
    """

    def __init__(self, url: Url, folder: Path, reach: Callable[[Url], Bucket] = connect) -> None:
        """Draw the store."""
        super().__init__(folder)
        self._url = url
        self._bucket = reach(url)
        self._sketch = Sketch(folder, reach)
        self._original = ""
        self._base_paths: dict[str, str] = {}  # as they stand in the bucket, by those in the sketch
        self._known: Object | None = None
        self._draw()

    def read(self) -> tuple[ModelConfig, ...]:
        """See `ConfigFile.read`."""
        with self._naming():
            return super().read()

    def change(self, name: str, edit: Callable[[ModelConfig], ModelConfig]) -> ModelConfig:
        """See `ConfigFile.change`; where others have changed it meanwhile, it is redone.

        Raises:
            StoreError: the bucket can't be written, or others change it each time.
        """
        for _ in range(_ATTEMPTS):
            before = self._text()
            with self._naming():
                after = super().change(name, edit)
            if self._text() == before:
                return after
            try:
                self._upload()
                return after
            except (Exists, Replaced):
                self._draw()
        raise StoreError(f"{self._url.below(CONFIG_NAME)} keeps being changed by others; nothing was changed.")

    def delete(self, config: ModelConfig, version: int) -> None:
        """See `ConfigFile.delete`."""
        folder = self.folder_of(config, version)
        url, drawn = self._sketch.drawn[folder]
        publishing.delete(self._sketch.reach(url), drawn.folder, drawn.files)

    def whole(self, folder: Path) -> Path:
        """See `ConfigFile.whole`."""
        url, drawn = self._sketch.drawn[folder]
        shutil.rmtree(folder)
        fetch(self._sketch.reach(url), drawn.folder, drawn, folder, lambda _size: None)
        return folder

    def shown(self, text: str) -> str:
        """See `ConfigFile.shown`."""
        return text.replace(str(self.store), str(self._url))

    def _draw(self) -> None:
        self._known = self._sketch.draw(self._url)
        self._original = self._text()
        if self._known is None:
            return
        self._base_paths.clear()

        def local(name: str, base_path: str) -> str:
            url = urls.parse(base_path, f"{self._url.below(CONFIG_NAME)}: base_path of {name}")
            if url is None:
                return base_path
            path = posixpath.relpath(f"/{url.prefix}", f"/{self._url.prefix}")
            if url.root != self._url.root or path.startswith(".."):
                path = f"{_OTHERS}/{name}"
                self._sketch.draw_model(url, self.store / path)
            self._base_paths[path] = base_path
            return path

        self.file.write_text(to_text(localised(self._text(), str(self._url.below(CONFIG_NAME)), local)))

    def _upload(self) -> None:
        if "#" in self._original:
            self._bucket.put(_BEFORE, self._original.encode())
        message = localised(self._text(), CONFIG_NAME, lambda _name, path: self._base_paths.get(path, path))
        self._bucket.put(CONFIG_NAME, to_text(message).encode(), new=self._known is None, instead_of=self._known)
        self._draw()

    def _text(self) -> str:
        return self.file.read_text() if self.file.exists() else ""

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Let errors name the bucket, not the sketch."""
        try:
            yield
        except SignpostError as error:
            raise type(error)(self.shown(str(error))) from error

"""The local engine: versions of the store, loaded in this process, kept in step with the store by one thread.

Where a service has several workers, each has such an engine, and what answers by default or by a label changes in all
of them at one moment: `agreement.py`.

The thread is started by `start` and stopped by `close`. What it finds first it loads side by side, in threads that end
before it goes on. An error of one step (a store that can't be read, a version that does not load) is logged once and
changes nothing that serves; the thread goes on.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from service import store
from service.config.model_config import ModelConfig, wanted_versions
from service.engine.local.accord import Accord
from service.engine.local.agreement import Offer
from service.engine.local.folders import Folders, without_folder
from service.engine.local.held import ClosableServable, Held, find, offer_of, refused, statuses
from service.engine.local.lifecycle import Action, Version, next_action
from service.engine.local.shared_view import AnyView, OwnView
from service.errors import SettingsError, SignpostError, StoreError, Unavailable
from service.interface import ModelSpec, Queue, Servable, State, Status

log = logging.getLogger(__name__)

# How long a version that is no longer wanted may finish what it has begun.
DRAIN_S = 60.0
# How long the first loading waits for versions whose files still change.
_YOUNG_S = 10.0

Load = Callable[[Path, str, int], ClosableServable]
ReadConfigs = Callable[[], Iterable[ModelConfig]]


class LocalEngine:
    """Serves the models of a configuration from their folders; see `service.interface.Engine`.

    Args:
        read_configs: says which models to serve, asked before each step; raises SettingsError or StoreError where it
            can't say, which changes nothing.
        load: makes a servable of a version's folder, its model's name and its number.
        poll_s: seconds between checks of the store.
        load_threads: how many versions are loaded at a time while none serves yet.
        view: by which all workers of the service answer; None where this process is alone.
    """

    has_canaries = False  # what stands before it may have them

    def __init__(
        self,
        read_configs: ReadConfigs,
        load: Load,
        *,
        poll_s: float = 1.0,
        load_threads: int = 1,
        view: AnyView | None = None,
    ) -> None:
        """Hold nothing yet; `start` begins."""
        self._load_threads = load_threads
        self._read_configs = read_configs
        self._load = load
        self._poll_s = poll_s
        self._lock = threading.Condition()
        # Only the watcher, and its loaders, change these; others read them, and `leases`, under the lock.
        self._held: dict[Version, Held] = {}
        self._configs: Mapping[str, ModelConfig] = {}  # of the models wanted, loaded or not
        self._defaults: Mapping[str, frozenset[int]] = {}  # versions for requests that name none
        self._wanted: Mapping[str, frozenset[int]] = {}  # those and the ones with a label
        self._changed: frozenset[Version] = frozenset()  # failed, to be tried again
        self._settled_at = 0  # generation of the view before the last look that found nothing to do
        self._folders = Folders()
        self._is_loading = True
        self._accord = Accord(view or OwnView(), self._make_offer, self._folders.complain)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_in_step, name="store-watcher", daemon=True)

    def start(self) -> None:
        """Start the thread that keeps the engine in step with the store."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and unload everything, each version after at most `DRAIN_S` seconds of draining."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(DRAIN_S)
        self._accord.leave()
        for version in list(self._held):
            self._unload(version)

    @property
    def is_loading(self) -> bool:
        """Whether what lay there at the start is still being loaded: until it is ready, or all of it has been tried."""
        if self._is_loading and self.status().ready:
            self._is_loading = False
        return self._is_loading

    @contextmanager
    def lease(self, spec: ModelSpec) -> Iterator[Servable]:
        """Borrow a servable; see `Engine.lease`."""
        with self._lock:
            if self._is_loading and not self._configs:  # nobody knows yet what there is
                raise Unavailable("The service is starting; try again.")
            view, offer = self._accord.view.of(spec.name), self._accord.offered(spec.name)
            held = find(spec, self._held, self._configs, view, offer, self._folders.reasons.get(spec.name, ""))
            held.leases += 1
        try:
            assert held.servable is not None  # what is AVAILABLE has one
            yield held.servable
        finally:
            with self._lock:
                held.leases -= 1
                if held.leases == 0:
                    self._lock.notify_all()

    def status(self) -> Status:
        """The state of every version of every model; see `Engine.status`.

        A version is AVAILABLE once every worker has it, and not before the model's first default version serves: until
        then it is LOADING.
        """
        with self._lock:
            view = self._accord.view
            names = sorted({*self._configs, *(name for name, _ in self._held)})
            models = {name: statuses(name, self._held, view.of(name), self._accord.offered(name)) for name in names}
            return self._folders.explain(models, self._configs)

    def join(self, alone: bool) -> bool:
        """Take requests from now on, so that other workers wait for this one before a version answers by default.

        Args:
            alone: no other worker serves, so this one need not have what they answer with.

        Returns:
            Whether it does.
        """
        return self._accord.join(self.status().ready, alone)

    def queued(self, model: str | None = None) -> dict[Version, Queue]:
        """What waits for a batch now, by model and version; see `Engine.queued`."""
        with self._lock:
            return {
                key: held.servable.queue
                for key, held in self._held.items()
                if held.servable is not None and model in (None, key[0])
            }

    def settle(self, timeout_s: float) -> bool:
        """Look at the configuration and the folders now, and wait until nothing is left to do, in every worker.

        Returns:
            Whether that was so within `timeout_s` seconds.
        """
        return self._accord.settle(self._wake.set, timeout_s)

    def _keep_in_step(self) -> None:
        patience_ends_s = time.monotonic() + _YOUNG_S
        while not self._stop.is_set():
            self._wake.clear()
            generation = self._accord.generation
            try:
                settled = self._step()
            except (SettingsError, StoreError) as error:
                settled = True
                self._folders.complain(str(error))
            except Exception:  # the thread's death would freeze the versions for ever
                settled = True
                log.exception("A step of the store watcher failed; it goes on.")
            if settled and self._accord.generation == generation:
                self._settled_at = generation
                if not self._folders.young or time.monotonic() > patience_ends_s:
                    self._is_loading = False
                self._accord.tell()
                self._accord.sleep(self._wake, generation, self._poll_s)

    def _step(self) -> bool:
        """Take one action; True when there was none to take."""
        configs = {config.name: config for config in self._read_configs()}
        defaults, wanted, changed = self._look(configs)
        with self._lock:
            self._configs, self._defaults, self._wanted, self._changed = configs, defaults, wanted, changed
            states = {key: held.state for key, held in self._held.items()}
        self._accord.tell()
        if not states and any(wanted.values()):
            self._load_first((name, version) for name, versions in wanted.items() for version in versions)
            return False
        view = self._accord.view
        named = {(name, version) for name, each in view.models.items() for version in each.named}
        action = next_action(wanted, states, changed, named, refused(self._held, view))
        if action is None:
            self._accord.tell_what_waits()
            return True
        return not self._act(action)

    def _make_offer(self, without: Version | None) -> Offer:
        """What this worker offers now, but for one version where it is given one, which is then on its way out."""
        with self._lock:
            held = {key: each for key, each in self._held.items() if key != without}
            names = {*self._configs, *(name for name, _ in held)}
            models = {
                name: offer_of(
                    name,
                    held,
                    self._defaults.get(name, frozenset()),
                    self._wanted.get(name, frozenset()),
                    self._configs[name].labels if name in self._configs else {},
                    self._changed,
                )
                for name in names
            }
        return Offer(models, settled_at=self._settled_at)

    def _load_first(self, versions: Iterable[Version]) -> None:
        """Load side by side, the newest first: nobody's requests are disturbed yet."""
        newest_first = sorted(versions, key=lambda version: version[1], reverse=True)
        with ThreadPoolExecutor(self._load_threads, "loader") as loaders:
            loads = [loaders.submit(self._load_unless_stopped, key) for key in newest_first]
            done, _ = wait(loads, return_when=FIRST_EXCEPTION)
            loaders.shutdown(wait=False, cancel_futures=True)  # an error, if any, is the watcher's
        for load in done:
            load.result()

    def _load_unless_stopped(self, key: Version) -> None:
        if not self._stop.is_set():
            self._load_version(key)

    def _look(
        self, configs: Mapping[str, ModelConfig]
    ) -> tuple[dict[str, frozenset[int]], dict[str, frozenset[int]], frozenset[Version]]:
        """What lies in the folders.

        Returns:
            For each model the versions for requests that name none, those that should be loaded (those with a label
            too), and the versions that failed and have changed since.
        """
        defaults: dict[str, frozenset[int]] = {}
        wanted: dict[str, frozenset[int]] = {}
        for name, config in configs.items():
            held = {number: each for (model, number), each in self._held.items() if model == name}
            complete = self._folders.complete_versions(config, held)
            if held and not complete:
                if complete is not None:
                    self._folders.complain(f"{config.base_path} no longer has a version; the loaded one keeps serving.")
                defaults[name], wanted[name] = self._defaults.get(name, frozenset()), frozenset(held)
                continue
            view = self._accord.view.of(name)
            failed = {number for number, each in held.items() if each.state is State.END}
            defaults[name] = wanted_versions(config.policy, complete or (), failed | view.failed.keys())
            others = view.named | frozenset(config.labels.values())
            wanted[name] = defaults[name] | (others & frozenset(complete or ()))
            if complete and not wanted[name]:
                there = ", ".join(map(str, complete))
                self._folders.report(
                    config, f"{config.base_path} holds no version that {name} should serve; it holds {there}."
                )
        for each in self._held.values():
            if each.state is State.AVAILABLE:
                self._folders.report_replaced(each.folder, each.files)
        changed = {
            key
            for key, held in self._held.items()
            if held.state is State.END and self._folders.have_changed(key, held.folder, held.files)
        }
        return defaults, wanted, frozenset(changed)

    def _act(self, action: Action) -> bool:
        """Do it; False where it can't be done now."""
        if action.verb == "load":
            self._load_version(action.version)
        elif action.verb == "forget":
            with self._lock:
                self._held.pop(action.version, None)
        elif not self._accord.withdraw(action.version):
            return False
        elif action.verb == "unload":
            self._unload(action.version)
            log.debug("Unloaded %s version %d.", *action.version)
        else:
            self._refuse(action.version)
        return True

    def _load_version(self, key: Version) -> None:
        name, number = key
        folder = self._folders.paths[key]
        files = store.fingerprint(folder)
        with self._lock:
            self._held[key] = Held(State.LOADING, folder, files)
        started_s = time.monotonic()
        try:
            servable = self._load(folder, name, number)
        except SignpostError as error:
            self._fail(key, str(error))
        except Exception as error:
            log.exception("Loading %s failed unexpectedly.", folder)
            self._fail(key, f"{folder} can't be loaded: {error}")
        else:
            with self._lock:
                self._held[key] = Held(State.AVAILABLE, folder, files, servable)
            took_s = time.monotonic() - started_s
            once = f"loaded {name} {number}"
            log.info("Loaded %s version %d in %.1f s.", name, number, took_s, extra={"once": once})
        self._accord.tell()

    def _fail(self, key: Version, error: str) -> None:
        log.error("%s", error, extra={"once": True})
        with self._lock:
            loading = self._held[key]
            self._held[key] = Held(
                State.END, loading.folder, loading.files, error=without_folder(error, loading.folder, key)
            )

    def _refuse(self, key: Version) -> None:
        """Give up a version that another worker could not load: it has failed for the service as a whole."""
        name, number = key
        held, failure = self._held[key], self._accord.view.of(name).failed.get(number)
        self._unload(key)
        with self._lock:
            error = "" if failure is None else failure.error
            self._held[key] = Held(State.END, held.folder, held.files, error=error)

    def _unload(self, key: Version) -> None:
        with self._lock:
            held = self._held[key]
            if held.servable is None:
                del self._held[key]
                return
            held.state = State.UNLOADING
            if not self._lock.wait_for(lambda: held.leases == 0, timeout=DRAIN_S):
                log.warning("%s version %d is unloaded although %d requests still use it.", *key, held.leases)
        held.servable.close()
        with self._lock:
            del self._held[key]

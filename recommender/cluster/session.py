"""A connection to Ray, and work in units that Ray Data spreads over its actors.

Ray is imported when it is connected.
"""

import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from probes.cores import n_cores
from probes.errors import ProbeError
from probes.native_logs import hidden_native_logs
from recommender.errors import RecommendError

LOCAL = "local"  # the address that starts Ray on this machine
_STORE_BYTES = 256 * 2**20  # of objects that processes of this machine share: units and their results are small
_STARTS = 3  # of Ray on this machine, until it runs
_ATTEMPTS = 2  # at a unit as a whole; after that its items are computed one by one, each in a process of its own


class Work:
    """What an actor does with the items of a unit. It travels to the actor once."""

    def items(self, unit: Any) -> Sequence[Any]:
        """The items of a unit; by default the unit is the list of them."""
        return list(unit)

    def compute(self, items: Sequence[Any]) -> list[Any]:
        """A result for each item, in their order."""
        raise NotImplementedError

    def lost(self, item: Any) -> Any:
        """The result for an item that ends the process which computes it."""
        raise NotImplementedError

    def keep(self, number: int, items: Sequence[Any], results: list[Any]) -> Any:
        """What becomes of the results of a unit: what the driver gets of them."""
        del number, items
        return results


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A connection to Ray."""

    n_cores: int  # of all its machines together
    n_machines: int
    dashboard: str  # its address, empty if there is none

    def run(self, work: Work, units: Sequence[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """The number of each unit and what `work` keeps of it, in the order in which they are done.

        Ray computes a unit again, in another process, if an actor or its machine is lost. What the user has caused is
        raised as it is here.
        """
        import ray
        import ray.data

        if not units:
            return
        with hidden_native_logs():
            shipped, attempts = ray.put(pickle_work(work)), ray.remote(num_cpus=0)(_Attempts).remote()
            rows = ray.data.from_items(
                [{"number": number, "unit": pickle.dumps(unit)} for number, unit in units],
                override_num_blocks=len(units),
            ).map_batches(
                _Actor,
                fn_constructor_args=([shipped], attempts),
                batch_size=1,
                num_cpus=1,
                compute=ray.data.ActorPoolStrategy(size=max(1, min(len(units), self.n_cores))),
            )
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        for row in rows.iter_rows():
            found = pickle.loads(row["kept"])  # noqa: S301  # from our own actors
            if isinstance(found, Exception):
                raise found
            yield row["number"], found


def connect(address: str) -> Cluster:
    """Connect this process to Ray at an address, "auto", or "local", which starts Ray on this machine.

    The connection stays until the process ends. One that is there already is used.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError:
        raise RecommendError(
            "Expected Ray Data, which spreads the work over a cluster. Received: `ray` without it. Install it: "
            "`pip install 'netgraft[ray]'`."
        ) from None
    dashboard = "" if ray.is_initialized() else _start(ray, address)
    settings = ray.data.DataContext.get_current()
    settings.enable_progress_bars = settings.print_on_execution_start = False
    cores = int(ray.cluster_resources().get("CPU", 1))
    machines = sum(node["Alive"] for node in ray.nodes())
    return Cluster(n_cores=max(1, cores), n_machines=machines, dashboard=dashboard)


def _start(ray: Any, address: str) -> str:
    """Connect to Ray, and return the address of its dashboard."""
    local = {"num_cpus": n_cores(), "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    reason = ""
    for _ in range(_STARTS if address == LOCAL else 1):  # Ray gives its own processes half a minute
        try:
            with hidden_native_logs():
                context = ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **local if address == LOCAL else {},
                )
            return str(getattr(context, "dashboard_url", "") or "")
        except Exception as error:  # noqa: BLE001  # each kind of address has exceptions of its own
            reason = (str(error) or type(error).__name__).split("\n")[0].rstrip(".")
            ray.shutdown()
    advice = "This machine may be too busy: try again" if address == LOCAL else "Start it with `ray start --head`"
    raise RecommendError(f"Expected a Ray cluster at {address!r}. Received: {reason:.200}. {advice}.")


def pickle_work(work: Work) -> bytes:
    """The work as it travels; an error of the user if its data are in this process alone."""
    from ray import cloudpickle

    try:
        return bytes(cloudpickle.dumps(work))
    except Exception as error:  # locks, handles and the objects of a framework
        raise RecommendError(
            "Expected data and a network that other machines can open: a folder, a manifest or an address, and a "
            f"network that LiteRT runs. Received: some that can't be sent to them ({str(error).splitlines()[0]:.100}). "
            "Leave out --ray."
        ) from error


class _Attempts:
    """How often each unit was begun; an actor of its own."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]


class _Actor:
    """Computes units, in the share of cores that Ray gives it."""

    def __init__(self, shipped: list[Any], attempts: Any) -> None:
        import ray

        _take_share()
        self._shipped, self._attempts = shipped[0], attempts
        self._work: Work = pickle.loads(ray.get(self._shipped))  # noqa: S301  # from our own driver

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        import ray

        number = int(batch["number"][0])
        try:
            items = self._work.items(pickle.loads(batch["unit"][0]))  # noqa: S301  # from our own driver
            known = ray.get(self._attempts.begin.remote(number)) <= _ATTEMPTS
            results = self._work.compute(items) if known else [self._alone(item) for item in items]
            kept = self._work.keep(number, items, results)
        except (ProbeError, RecommendError) as error:
            kept = error
        return {"number": [number], "kept": [pickle.dumps(kept)]}

    def _alone(self, item: Any) -> Any:
        """The result of one item, computed by a process that it may end."""
        import ray

        compute = ray.remote(num_cpus=0, max_retries=0)(_compute_one)
        try:
            return ray.get(compute.remote(self._shipped, item))
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
            return self._work.lost(item)


def _compute_one(shipped: bytes, item: Any) -> Any:
    _take_share()
    return pickle.loads(shipped).compute([item])[0]  # noqa: S301  # from our own driver


def _take_share() -> None:
    """Use one core, before anything has counted them."""
    os.environ |= dict.fromkeys(("NETGRAFT_CORES", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")

"""Two clusters: a local Ray for all slow tests of this folder, and this process, which does the same units in turn."""

import pickle

import pytest

from recommender.cluster.session import Cluster, connect


class ThisProcess(Cluster):
    """Computes units one after the other, the last one first; units and results travel as on a cluster."""

    def run(self, work, units):
        for number, unit in pickle.loads(pickle.dumps(list(reversed(units)))):
            items = work.items(unit)
            yield number, pickle.loads(pickle.dumps(work.keep(number, items, work.compute(items))))


@pytest.fixture(scope="session")
def ray_cluster():
    ray = pytest.importorskip("ray", reason="needs netgraft[ray]")
    yield connect("local")
    ray.shutdown()


@pytest.fixture(params=["this process", pytest.param("ray", marks=pytest.mark.slow)])
def cluster(request, monkeypatch):
    if request.param == "ray":
        return request.getfixturevalue("ray_cluster")
    made = ThisProcess(n_cores=2, n_machines=1, dashboard="")
    monkeypatch.setattr("recommender.cluster.session.connect", lambda _: made)
    return made

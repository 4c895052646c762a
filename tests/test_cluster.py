"""A real Ray cluster of two nodes on this machine: a node that dies, a node that cannot write, and what is left at the end."""

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from epicycle.cli.main import main
from epicycle.errors import ConfigError, DiskError
from epicycle.runs.directory import list_runs
from epicycle.sweep.jobs import Job, run_jobs
from epicycle.sweep.pool import LocalPool
from epicycle.sweep.sweep import sweep

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.cluster]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Two nodes of one core each; the driver is on neither."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_DISABLE_METRICS_COLLECTION", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 * 2**20},
    )
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


def _curves(root):
    return {
        run.id: [(line["step"], line["train_loss"], line["test_accuracy"]) for line in run.history()]
        for run in list_runs(root)
    }


@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_loses_nothing(cluster, tiny, tmp_path):
    from epicycle.sweep.cluster import RayCluster

    configs = [tiny(text, steps=3000, seed=seed) for text in ("a+b", "a*b") for seed in range(4)]
    undisturbed = tmp_path / "undisturbed"
    sweep(configs, undisturbed, LocalPool(2), every_seconds=0.2)
    killed, warned = [], []

    def progress(now):
        if now.finished >= 2 and not killed and len(now.running) == 2:
            killed.append(list(cluster.worker_nodes)[-1])
            cluster.remove_node(killed[0], allow_graceful=False)

    root = tmp_path / "ray"
    paths = sweep(
        configs, root, RayCluster(root, cluster.address), progress=progress, warn=warned.append, every_seconds=0.2
    )
    assert killed and warned
    assert len(set(paths)) == 8
    assert {run.id for run in list_runs(root) if run.record()["status"] == "finished"} == {
        run.id for run in list_runs(undisturbed)
    }
    assert _curves(root) == _curves(undisturbed)  # nothing lost, nothing twice, the same numbers
    assert not list(root.glob(".sweep-*"))


def _writes(before, marker, seconds):
    """Fails as on a full disk wherever the marker's node is."""
    import ray as _ray

    node = _ray.get_runtime_context().get_node_id()
    place = Path(marker)
    if not place.exists():
        place.write_text(node)
    time.sleep(seconds)
    if place.read_text() == node:
        raise DiskError("got no space left on the disk.")
    return node


@pytest.mark.slow
def test_a_node_with_a_full_disk_gets_no_more_jobs(cluster, tmp_path):
    from epicycle.sweep.cluster import RayCluster

    marker, warned = tmp_path / "marker", []
    jobs = [Job(f"job {i}", _writes, (str(marker), 0.3)) for i in range(6)]
    found = run_jobs(jobs, RayCluster(tmp_path / "runs", cluster.address), warn=warned.append, every_seconds=0.2)
    assert len(found) == 6
    assert len(set(found.values())) == 1
    assert marker.read_text() not in found.values()
    assert 1 <= len(warned) <= 2
    assert "no more jobs" in warned[0]


def test_an_address_that_does_not_answer_is_one_sentence(tmp_path, capsys):
    from epicycle.sweep.cluster import RayCluster

    assert not ray.is_initialized()
    with pytest.raises(ConfigError, match="no cluster answers"):
        RayCluster(tmp_path / "runs", "127.0.0.1:1")
    words = [
        "sweep",
        "a+b",
        "--moduli",
        "11",
        "--train-fractions",
        "0.5",
        "--max-steps",
        "100",
        "--seeds",
        "1",
        "--out",
        str(tmp_path / "runs"),
    ]
    assert main([*words, "--engine", "ray", "--address", "127.0.0.1:1"]) == 2
    error = capsys.readouterr().err
    assert "no cluster answers" in error and "Traceback" not in error
    assert not list_runs(tmp_path / "runs")


def test_what_is_not_ray_is_told_at_once(tmp_path):
    """A web server answers with HTTP/1.1, a silent listener with nothing: Ray itself would go on asking for minutes."""
    from epicycle.sweep.cluster import RayCluster

    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(ConfigError, match="something else than Ray"):
            RayCluster(tmp_path / "runs", f"127.0.0.1:{server.server_port}")
        assert time.monotonic() - began < 20
        server.shutdown()
    with pytest.raises(ConfigError, match="no host:port"):
        RayCluster(tmp_path / "runs", "foo")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_command_line_on_a_cluster(cluster, tmp_path, capsys):
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        words = [
            "sweep",
            "a+b",
            "a*b",
            "--moduli",
            "11",
            "--train-fractions",
            "0.5",
            "--max-steps",
            "200",
            "--seeds",
            "2",
            "--out",
            str(tmp_path),
        ]
        assert main([*words, "--engine", "ray", "--json", "--threads", "1"]) == 0
    finally:
        del os.environ["RAY_ADDRESS"]
    found = json.loads(capsys.readouterr().out)
    assert len(found["runs"]) == 4
    assert Path(found["report"]).is_file()

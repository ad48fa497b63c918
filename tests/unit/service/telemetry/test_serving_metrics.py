"""TF Serving's metrics: names, labels and text as its users' dashboards read them."""

import os
import subprocess
import sys
from pathlib import Path

from service.telemetry.serving_metrics import ServingMetrics


def filled() -> ServingMetrics:
    metrics = ServingMetrics()
    metrics.count_request("m", "Predict", "GRPC", "OK", 0.000_02)
    metrics.count_request("m", "predict", "REST", "NOT_FOUND", 1.0)
    metrics.count_run("m", "Predict", 0.001)
    metrics.count_examples("m", 3)
    metrics.count_load(Path("/models/m/1"), True, 0.5)
    metrics.count_load(Path('/models/"m/2'), False, 0.5)
    return metrics


def test_the_page_has_tf_servings_names() -> None:
    lines = filled().text().splitlines()
    for line in (
        "# TYPE :tensorflow:serving:request_count counter",
        ':tensorflow:serving:request_count{model_name="m",status="OK"} 1',
        ':tensorflow:serving:request_count{model_name="m",status="NOT_FOUND"} 1',
        "# TYPE :tensorflow:serving:request_latency histogram",
        ':tensorflow:serving:request_latency_bucket{model_name="m",API="Predict",entrypoint="GRPC",le="18"} 0',
        ':tensorflow:serving:request_latency_bucket{model_name="m",API="Predict",entrypoint="GRPC",le="32.4"} 1',
        ':tensorflow:serving:request_latency_bucket{model_name="m",API="Predict",entrypoint="GRPC",le="+Inf"} 1',
        ':tensorflow:serving:request_latency_sum{model_name="m",API="Predict",entrypoint="GRPC"} 20',
        ':tensorflow:serving:runtime_latency_sum{model_name="m",API="Predict",runtime="TF1"} 1000',
        ':tensorflow:serving:request_example_counts_sum{model="m"} 3',
        ':tensorflow:serving:request_example_count_total{model="m"} 3',
        ":tensorflow:core:graph_runs{} 1",
        ":tensorflow:core:graph_run_time_usecs{} 1000",
        ':tensorflow:cc:saved_model:load_attempt_count{model_path="/models/m/1",status="success"} 1',
        r':tensorflow:cc:saved_model:load_attempt_count{model_path="/models/\"m/2",status="fail"} 1',
        ':tensorflow:cc:saved_model:load_latency{model_path="/models/m/1"} 500000',
    ):
        assert line in lines, line
    assert "_created" not in "\n".join(lines)
    assert sum(line.startswith(":tensorflow:serving:request_latency_bucket") for line in lines) == 34


def test_the_counts_of_all_workers_add_up(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from service.telemetry import shared_metrics
shared_metrics.share(Path(sys.argv[1]))
from tests.unit.service.telemetry.test_serving_metrics import filled
print(filled().text())
"""
    root = Path(__file__).parents[4]
    for count in (1, 2):
        page = subprocess.run(
            [sys.executable, "-c", program, tmp_path],
            cwd=root, env={**os.environ}, capture_output=True, text=True, timeout=120, check=True,
        ).stdout  # fmt: skip
        assert f':tensorflow:serving:request_count{{model_name="m",status="OK"}} {count}\n' in page
        assert f':tensorflow:serving:request_example_count_total{{model="m"}} {3 * count}\n' in page
        assert f":tensorflow:core:graph_runs{{}} {count}\n" in page

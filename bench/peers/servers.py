"""Who is compared, how each is installed and started, and how each is asked the same thing."""

from __future__ import annotations

import json
import subprocess
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from bench.rows import STORE, Row, instances, persons
from tests.service import free_port

APPS = Path(__file__).parent / "apps"
CACHE = Path.home() / ".cache" / "onrecord-bench"  # outside the repository: every checkout finds them again
PICKLE = STORE / "model.pkl"
_SAME = [f"{name}=={version(name)}" for name in ("scikit-learn", "numpy", "pandas", "scipy")]


class NotInstalled(Exception):
    """The package index did not give what this peer needs; the message is the installer's last line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One server: `command` gets its virtualenv's folder, a folder of its own and a port; `body` writes rows."""

    name: str
    cache: str
    requirements: Sequence[str]
    command: Callable[[Path, Path, int], list[str]]
    path: str = "/predict"
    body: Callable[[Sequence[Row]], bytes] = instances
    probabilities: Callable[[Any], list[float]] = lambda answer: [
        each["probability"] for each in answer["predictions"]
    ]
    environment: Mapping[str, str] = field(default_factory=dict)
    needs_database: bool = False

    def install(self) -> Path:
        """Make the virtualenv once, with the libraries of the pickle in our versions."""
        folder = CACHE / self.cache
        done = folder / "installed"
        wanted = "\n".join([*_SAME, *self.requirements])
        if done.exists() and done.read_text() == wanted:
            return folder
        venv.create(folder, with_pip=True, clear=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run = subprocess.run(
            [*pip, *_SAME, *self.requirements], capture_output=True, text=True, check=False, timeout=1200
        )
        if run.returncode != 0:
            raise NotInstalled((run.stderr.strip().splitlines() or ["pip failed"])[-1])
        done.write_text(wanted)
        return folder

    def release(self, folder: Path) -> str:
        """Say which release was measured."""
        name = self.requirements[0].partition("[")[0]
        code = f"from importlib.metadata import version; print(version({name!r}))"
        run = subprocess.run(
            [folder / "bin" / "python", "-c", code], capture_output=True, text=True, check=True
        )
        return f"{name} {run.stdout.strip()}"


def peers() -> list[Peer]:
    """List everybody."""
    fastapi = ["fastapi", "uvicorn[standard]", "sqlalchemy"]
    return [
        Peer(name="FastAPI", cache="fastapi", requirements=fastapi, command=_fastapi),
        Peer(
            name="FastAPI + SQLAlchemy, a commit a request",
            cache="fastapi",
            requirements=fastapi,
            command=_fastapi,
            needs_database=True,
        ),
        Peer(name="LitServe, batches of 64", cache="litserve", requirements=["litserve"], command=_litserve),
        Peer(
            name="BentoML, adaptive batching",
            cache="bentoml",
            requirements=["bentoml"],
            command=_bentoml,
            probabilities=lambda answer: [each["probability"] for each in answer],
            environment={"BENTOML_DO_NOT_TRACK": "true"},
        ),
        Peer(
            name="MLServer, batches of 64",
            cache="mlserver",
            requirements=["mlserver", "mlserver-sklearn", "uvloop<0.22"],  # newer ones keep it from starting
            command=_mlserver,
            path="/v2/models/income/infer",
            body=_open_inference,
            probabilities=lambda answer: answer["outputs"][0]["data"][1::2],
        ),
        Peer(
            name="mlflow models serve",
            cache="mlflow",
            requirements=["mlflow"],
            command=_mlflow,
            path="/invocations",
            body=_dataframe_split,
            probabilities=lambda answer: [each[1] for each in answer["predictions"]],
            environment={"MLFLOW_DISABLE_TELEMETRY": "true"},
        ),
    ]


def _fastapi(folder: Path, _own: Path, port: int) -> list[str]:
    # Two workers for two cores; OnRecord has one door and one engine.
    options = ["--workers", "2", "--port", str(port), "--log-level", "warning", "--no-access-log"]
    return [str(folder / "bin" / "uvicorn"), "fastapi_app:app", "--app-dir", str(APPS), *options]


def _litserve(folder: Path, _own: Path, port: int) -> list[str]:
    return [str(folder / "bin" / "python"), str(APPS / "litserve_app.py"), str(port)]


def _bentoml(folder: Path, _own: Path, port: int) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(APPS)]
    return [str(folder / "bin" / "bentoml"), "serve", "bentoml_app:Income", *options]


def _mlserver(folder: Path, own: Path, port: int) -> list[str]:
    settings = {
        "name": "income",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(PICKLE), "content_type": "pd", "extra": {"predict_fn": "predict_proba"}},
        "max_batch_size": 64,
        "max_batch_time": 0.005,
    }
    (own / "model-settings.json").write_text(json.dumps(settings))
    server = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "logging_settings": str(own / "logging.json"),
    }
    quiet = {"version": 1, "root": {"level": "WARNING", "handlers": []}, "disable_existing_loggers": True}
    (own / "logging.json").write_text(json.dumps(quiet))
    (own / "settings.json").write_text(json.dumps(server))
    return [str(folder / "bin" / "mlserver"), "start", str(own)]


def _mlflow(folder: Path, own: Path, port: int) -> list[str]:
    saved = own / "model"
    save = [folder / "bin" / "python", APPS / "mlflow_model.py", saved]
    done = subprocess.run(
        save, env={"BENCH_PICKLE": str(PICKLE)}, cwd=own, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NotInstalled((done.stderr.strip().splitlines() or ["saving the model failed"])[-1])
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    return [str(folder / "bin" / "mlflow"), "models", "serve", "--model-uri", str(saved), *options]


def _open_inference(rows: Sequence[Row]) -> bytes:
    """Write columns as the Open Inference Protocol has them."""
    inputs = []
    for name in rows[0]:
        data = [row[name] for row in rows]
        is_text = not isinstance(data[0], int)
        one: dict[str, Any] = {
            "name": name,
            "datatype": "BYTES" if is_text else "INT64",
            "shape": [len(rows), 1],
        }
        one["data"] = ["" if value is None else value for value in data] if is_text else data
        inputs.append(one | ({"parameters": {"content_type": "str"}} if is_text else {}))
    return orjson.dumps({"parameters": {"content_type": "pd"}, "inputs": inputs})


def _dataframe_split(rows: Sequence[Row]) -> bytes:
    data = [list(row.values()) for row in rows]
    return orjson.dumps({"dataframe_split": {"columns": list(rows[0]), "data": data}})


def python_path(folder: Path) -> dict[str, str]:
    """Give a peer its own programs first, our applications to import, and one thread a library, as we have."""
    path = f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    return {"PATH": path, "PYTHONPATH": str(APPS), "BENCH_PICKLE": str(PICKLE), **threads}


def rows_for_all(count: int = 500) -> list[Row]:
    """Give the rows that everybody is asked about: no value is missing, for not every peer can say so."""
    whole = [each for each in persons(2 * count) if None not in each.values()]
    return whole[:count]

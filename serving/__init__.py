"""An answer in milliseconds, always.

A worker is one process with one event loop: `Service` puts it together, `run_worker` gives it its life. It
answers `recommend` from copies of the learned parts (`Replica`) and takes events into its own log
(`GroupWriter`); nothing is learned here. `Application` speaks ASGI; the routes stand in `serving.routes`.
"""

from __future__ import annotations

from serving.app import Application
from serving.auth import is_loopback, refuse_exposure
from serving.backend import Backend
from serving.decisions import DecisionMaker
from serving.folder_backend import FolderBackend
from serving.gateway import Gateway
from serving.gather import Gatherer
from serving.item_index import ItemIndex
from serving.recommend import RecommendEndpoint, RequestIds
from serving.replica import Replica
from serving.service import Service, WorkerConfig
from serving.settings import AuthSettings, ServeSettings, SourceSettings
from serving.source import Source
from serving.warm_answers import warm_serving
from serving.worker import run_worker
from serving.writer import GroupWriter

__all__ = [
    "Application",
    "AuthSettings",
    "Backend",
    "DecisionMaker",
    "FolderBackend",
    "Gateway",
    "Gatherer",
    "GroupWriter",
    "ItemIndex",
    "RecommendEndpoint",
    "Replica",
    "RequestIds",
    "ServeSettings",
    "Service",
    "Source",
    "SourceSettings",
    "WorkerConfig",
    "is_loopback",
    "refuse_exposure",
    "run_worker",
    "warm_serving",
]

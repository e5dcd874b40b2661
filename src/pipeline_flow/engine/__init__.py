"""Runs a plan: pipelines as a DAG, phases in their order, steps in their mode. Tells what happens by events alone."""

from pipeline_flow.engine.clock import Clock, SystemClock
from pipeline_flow.engine.orchestrator import Orchestrator
from pipeline_flow.engine.result import PipelineResult, RunResult, StepResult
from pipeline_flow.engine.threads import Lane, Threads, WorkerThreads

__all__ = [
    "Clock",
    "Lane",
    "Orchestrator",
    "PipelineResult",
    "RunResult",
    "StepResult",
    "SystemClock",
    "Threads",
    "WorkerThreads",
]

"""Values → what will be done."""

from __future__ import annotations

from pipeline_flow.plan.build import Built, build, confidential_in
from pipeline_flow.plan.model import PhasePlan, PipelinePlan, Plan, Retry, SecretPlan, StepPlan

__all__ = [
    "Built",
    "PhasePlan",
    "PipelinePlan",
    "Plan",
    "Retry",
    "SecretPlan",
    "StepPlan",
    "build",
    "confidential_in",
]

"""What listens to a run. Each listener has a queue and a thread of its own: it cannot slow a run down or fail it."""

from pipeline_flow.listeners.bus import Bus, InOrder, Listener

__all__ = ["Bus", "InOrder", "Listener"]

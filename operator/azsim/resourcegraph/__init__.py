"""Resource Graph: KQL over tables made from the fleet's state."""

from azsim.resourcegraph.handler import ResourceGraph

__all__ = ["ResourceGraph"]

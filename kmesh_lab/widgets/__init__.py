"""Live views. They add interaction, never information: each has a static form that says the same.

A view is one Python class, one ``.js`` file and one ``.css`` file beside it, and one trait between them. Nothing is
loaded from a network. What JupyterLab shows is live; what GitHub shows is the static form, part of the same output.
"""

from kmesh_lab.widgets.decision_path import DecisionPath
from kmesh_lab.widgets.event_stream import EventStream
from kmesh_lab.widgets.locality_panel import LocalityPanel
from kmesh_lab.widgets.map_inspector import MapInspector
from kmesh_lab.widgets.mock_interview import MockInterview
from kmesh_lab.widgets.path_microscope import PathMicroscope
from kmesh_lab.widgets.prediction import Prediction
from kmesh_lab.widgets.tlv_inspector import TlvInspector
from kmesh_lab.widgets.topology import Topology
from kmesh_lab.widgets.weak_spots import weak_spots

__all__ = [
    "DecisionPath",
    "EventStream",
    "LocalityPanel",
    "MapInspector",
    "MockInterview",
    "PathMicroscope",
    "Prediction",
    "TlvInspector",
    "Topology",
    "weak_spots",
]

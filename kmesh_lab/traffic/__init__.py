"""What moves between pods: their processes, what these serve and connect to, the waypoint, and the TLV.

Inside the process of a pod (standard library only)::

    launch       starts the process
    agent        Agent: what a pod does for its owner
    sockets      a socket that connects, sockets that listen, and their cookies
    connects     many connects, and what they came to
    server       HTTP and echo
    relay        asking another service before answering
    waypoint     Waypoint: an agent that forwards by the TLV
    tlv_bytes    the TLV, read from a stream
    proxy        ProxyAgent: an agent with an Envoy
    xds          what this Envoy asks for its configuration
    redirect     the NAT rules that lead the pod's traffic through it

At its owner::

    pod_process  PodProcess, Reply
    envoy        Envoy: start it, configure it, ask it
    envoy_config from services to clusters and listeners
    certificates for mutual TLS
    channel      the messages between both
    tlv          KmeshTLV, KmeshTLVEnd, split
    capture      Capture: what passes the interface of a pod (not imported here: Scapy's IP layers take their time)
"""

from kmesh_lab.traffic.pod_process import PodProcess, Reply
from kmesh_lab.traffic.tlv import KmeshTLV, KmeshTLVEnd, split

__all__ = ["KmeshTLV", "KmeshTLVEnd", "PodProcess", "Reply", "split"]

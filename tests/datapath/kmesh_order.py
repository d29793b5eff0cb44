"""One endpoint comes or goes in the order in which Kmesh's daemon writes it.

Written from what the daemon does, to show what that order leaves open: pkg/controller/workload/workload_processor.go,
lines 403 to 424 and 1096 to 1176, and bpfcache/endpoint.go, lines 73 to 124. There is no grace period anywhere.
"""

from dataclasses import replace


class KmeshOrder:
    """Writes the endpoints of a service into the maps of a node."""

    def __init__(self, datapath):
        self._service, self._endpoint = datapath.maps["km_service"], datapath.maps["km_endpoint"]
        self._rows = datapath.rows

    def add(self, service_id, prio, uid):
        """The row of the endpoint, behind the last one; then the count."""
        service = self._read(service_id)
        count = service.prio_endpoint_count[prio] + 1
        self._endpoint.update(self._rows.pack_endpoint_key(service_id, prio, count), self._rows.pack_id(uid))
        self._write_count(service_id, service, prio, count)

    def remove(self, service_id, prio, index):
        """Swap with the last: its value goes to the row that is free now, then the count, then its row is deleted."""
        service = self._read(service_id)
        count = service.prio_endpoint_count[prio]
        if count > 1:
            moved = count - 1 if index == count else count
            value = self._endpoint.lookup(self._rows.pack_endpoint_key(service_id, prio, moved))
            self._endpoint.update(self._rows.pack_endpoint_key(service_id, prio, index), value)
        self._write_count(service_id, service, prio, count - 1)
        self._endpoint.delete(self._rows.pack_endpoint_key(service_id, prio, count))

    def _read(self, service_id):
        return self._rows.unpack_service(self._service.lookup(self._rows.pack_id(service_id)))

    def _write_count(self, service_id, service, prio, count):
        counts = [*service.prio_endpoint_count[:prio], count, *service.prio_endpoint_count[prio + 1 :]]
        row = replace(service, prio_endpoint_count=tuple(counts))
        self._service.update(self._rows.pack_id(service_id), self._rows.pack_service(row))

"""The maps of one node as the tests see them: every write noted, every row comparable."""

from dataclasses import dataclass, field

from kmesh_lab.datapath.plan import ORDER, Publication
from kmesh_lab.datapath.publisher import Publisher
from kmesh_lab.datapath.rows import Rows
from kmesh_lab.datapath.views import MapViews
from kmesh_lab.kernel.maps import Map
from kmesh_lab.kernel.program import BPF_DIR, Module


@dataclass(frozen=True, repr=False)
class NotedMap(Map):
    """A map that notes what is written to it: (map, "update" or "delete", key)."""

    notes: list = field(default_factory=list)

    def update(self, key, value):
        self.notes.append((self.name, "update", key))
        super().update(key, value)

    def update_many(self, rows):
        self.notes.extend((self.name, "update", key) for key, _ in rows)
        super().update_many(rows)

    def delete_many(self, keys):
        keys = list(keys)
        self.notes.extend((self.name, "delete", key) for key in keys)
        super().delete_many(keys)

    def delete(self, key):
        self.notes.append((self.name, "delete", key))
        return super().delete(key)


class Tables:
    """Maps, rows, views and a publisher that work together, and ``notes`` of all writes."""

    def __init__(self, place):
        self._module = Module(BPF_DIR / "kmesh.c")
        self.notes = []
        self.maps = {
            name: NotedMap(name, each.fd, each.key_size, each.value_size, each.max_entries, self.notes)
            for name, each in self._module.maps.items()
        }
        self.rows = Rows(self._module.layouts)
        self.publisher = Publisher(self.maps, self.rows, place)
        self.views = MapViews(self.maps, self.rows, self.publisher)

    def close(self):
        self.publisher.settle()
        self._module.close()

    def apply(self, service, *endpoints, waypoint=None):
        """Publish one service to the end."""
        self.apply_all(Publication(service, endpoints, waypoint))

    def apply_all(self, *publications):
        """Publish services in one change to the end."""
        self.publisher.apply(publications).commit()
        self.publisher.settle()

    def snapshot(self):
        """Every row of the maps that a publisher writes."""
        return {name: dict(self.maps[name].rows()) for name in ORDER}

    def hex(self, name):
        """The rows of a map in hexadecimal."""
        return {key.hex(): value.hex() for key, value in self.maps[name].rows()}

    def names(self, service):
        """The endpoints of a service by (priority, index), as the map has them."""
        number = self.views.id_of(service)
        return {
            (key.prio, key.index): self.publisher.workload(uid).name
            for key, uid in self.views.endpoint.items()
            if key.service_id == number
        }

    def fill(self, name, room):
        """Put rows of nobody into a map until there is room for only so many."""
        target = self.maps[name]
        missing = target.max_entries - len(target.rows()) - room
        keys = (number.to_bytes(target.key_size, "big") for number in range(1, missing + 1))
        Map.update_many(target, [(key, bytes(target.value_size)) for key in keys])

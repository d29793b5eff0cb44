"""What is published on a node, and drafts on top of it, without maps."""

from kmesh_lab.datapath.plan import Draft, Published
from kmesh_lab.mesh import IdTable, Locality, Place

HERE = Place(Locality.parse("cn-west/xian/a"), "n1")


class Planner:
    """Published things, ids, and drafts on top of them."""

    def __init__(self, rows, place=HERE):
        self.rows, self.place = rows, place
        self.published, self.ids = Published(), IdTable()

    def draft(self):
        return Draft(self.published, self.rows, self.ids, self.place)

    def publish(self, *publications):
        draft = self.draft()
        draft.publish(publications)
        draft.merge()
        return draft

    def id(self, key):
        return self.ids.id_of(key).to_bytes(4, "little")

    def counts(self, draft, service):
        return self.rows.unpack_service(draft.writes["km_service"][self.id(service.key)]).prio_endpoint_count

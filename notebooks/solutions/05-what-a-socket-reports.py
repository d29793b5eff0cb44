"""Solutions of notebook 05. ``python notebooks/solutions/05-what-a-socket-reports.py`` has them checked."""

from collections import Counter

from kmesh_lab.exercises import exercise

# 05.1 predict: two records per enrolled side, none without an established connection; SYN and FIN count as a byte each,
# but only for the side that sends or receives them while its socket exists.
numbers = {
    "records: shop says hello to inventory-b": 4,
    "records: stranger, not enrolled, says hello to inventory-b": 2,
    "records: shop connects to a closed port of inventory-b": 0,
    "sent_bytes: shop's last record": 1 + 5 + 1,
    "received_bytes: inventory-b's last record": 5 + 1,
    "sent_bytes: shop's last record, through a waypoint": 1 + 16 + 5 + 1,
}

# 05.2 change: 1927 records fit, and a connect within one node makes four.
connects = 1927 // 4


# 05.3 build: one side, the newest record of each connection, without what is no payload.
def payload(events):
    newest = {}
    for event in sorted(events, key=lambda event: event.last_report_ns):
        if event.direction == "OUTBOUND":
            newest[event.source, event.destination, event.start_ns] = event
    sent = Counter()
    for event in newest.values():
        fin = 1 if event.state == "CLOSE" else 0
        tlv = 16 if event.destination[1] == 15019 else 0
        sent[event.source[0]] += event.sent_bytes - 1 - fin - tlv
    return dict(sent)


ANSWERS = {"05.1": numbers, "05.2": connects, "05.3": payload}

if __name__ == "__main__":
    for number, answer in ANSWERS.items():
        print(exercise(number).check(answer))

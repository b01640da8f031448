"""One libtorrent peer of a lab in a process of its own: bench/lab/peer-protocol.ts says how it is spoken to.

Settings, the best that were found for a closed swarm of known members on one network, each compared with the default at 8, 16 and 40 hosts:
- plain TCP: no uTP, no protocol encryption; no DHT, local discovery or port mapping.
- every peer is unchoked (unchoke_slots_limit -1); hosts are told of everyone at the start and connections are opened without pauses.
- connections_limit 10: at 40 hosts the ratio to the ideal time fell from 2.6 to 1.9; 8, 14 and 20 were no better.
- request_queue_time 1, max_out_request_queue 8 and send_buffer_watermark 64 KiB, for short queues: from 2.1 to 1.6 at 8 hosts.
- pieces are picked rarest first, its default. Super seeding (BEP 16) was slower, 2.7 at 8 hosts, though the origin then sends one copy.
"""

import json
import os
import resource
import sys
import threading
import time

import libtorrent as lt

task = json.loads(sys.argv[1])
with open(task["infoPath"], "rb") as file:
    torrent = lt.torrent_info({b"info": lt.bdecode(file.read())})
session = lt.session(
    {
        "listen_interfaces": "%s:%d" % (task["listen"]["host"], task["listen"]["port"]),
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_outgoing_utp": False,
        "enable_incoming_utp": False,
        "out_enc_policy": 2,
        "in_enc_policy": 2,
        "unchoke_slots_limit": -1,
        "connections_limit": 10,
        "request_queue_time": 1,
        "max_out_request_queue": 8,
        "send_buffer_watermark": 64 * 1024,
        "connection_speed": 500,
        "torrent_connect_boost": 255,
        "rate_limit_ip_overhead": False,
        "alert_mask": lt.alert.category_t.error_notification | lt.alert.category_t.status_notification,
    }
)
parameters = lt.add_torrent_params()
parameters.ti = torrent
parameters.save_path = task["directory"]
if task["role"] == "origin":
    parameters.flags |= lt.torrent_flags.seed_mode
handle = session.add_torrent(parameters)
while handle.status().state in (lt.torrent_status.checking_files, lt.torrent_status.checking_resume_data):
    time.sleep(0.01)


def say(line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def follow():
    finished = False
    while not finished:
        session.wait_for_alert(1000)
        finished = any(isinstance(alert, lt.torrent_finished_alert) for alert in session.pop_alerts())
    say({"kind": "done", "atMs": time.monotonic() * 1000})


say({"kind": "ready"})
if sys.stdin.readline().strip() == "start":
    before = cpu_seconds()
    if task["role"] == "host":
        for at in task["all"]:
            if at["host"] != task["listen"]["host"]:
                handle.connect_peer((at["host"], at["port"]))
        threading.Thread(target=follow, daemon=True).start()
    sys.stdin.readline()
    status = handle.status()
    say(
        {
            "kind": "report",
            "report": {
                "downloadedBytes": status.total_payload_download,
                "uploadedBytes": status.total_payload_upload,
                "duplicateBytes": status.total_redundant_bytes,
                "cpuSeconds": cpu_seconds() - before,
                "residentBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "contentPath": os.path.join(task["directory"], torrent.name()) if task["role"] == "host" and status.is_seeding else None,
            },
        }
    )

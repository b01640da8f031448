"""One end of bench/pair.ts with libtorrent, without encryption: the same arguments and the same lines of JSON as pair-peer.ts."""
import json
import resource
import sys
import time

import libtorrent as lt

end, directory, info_path, port = (sys.argv[1:] + ["0"])[:4]
with open(info_path, "rb") as file:
    torrent = lt.torrent_info({b"info": lt.bdecode(file.read())})
session = lt.session(
    {
        "listen_interfaces": "127.0.0.1:0",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_outgoing_utp": False,
        "enable_incoming_utp": False,
        "out_enc_policy": 2,
        "in_enc_policy": 2,
        "allow_multiple_connections_per_ip": True,
        "alert_mask": lt.alert.category_t.error_notification | lt.alert.category_t.status_notification,
    }
)
parameters = lt.add_torrent_params()
parameters.ti = torrent
parameters.save_path = directory
if end == "seed":
    parameters.flags |= lt.torrent_flags.seed_mode
handle = session.add_torrent(parameters)
while handle.status().state in (lt.torrent_status.checking_files, lt.torrent_status.checking_resume_data):
    time.sleep(0.01)


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


before = cpu_seconds()
started = time.monotonic()
if end == "seed":
    print(json.dumps({"port": session.listen_port()}), flush=True)
    sys.stdin.read()
else:
    handle.connect_peer(("127.0.0.1", int(port)))
    while not handle.status().is_seeding:
        session.wait_for_alert(20)
        session.pop_alerts()
took = time.monotonic() - started
print(json.dumps({"tookMs": took * 1000, "cpuSeconds": cpu_seconds() - before, "residentBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}), flush=True)

"""A peer of a lab whose work is done by a program of the system: bench/lab/peer-protocol.ts says how it is spoken to.

Its one argument is JSON: `waiting` is a command that runs from before the start, `starting` one that the start sets off; either may be null.
A host has the file when its command ended well. `port` is where `waiting` listens (UDP or TCP): it is ready when the kernel says so.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

task = json.loads(sys.argv[1])
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
running = []
ended = threading.Event()


def say(line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def run(command):
    process = subprocess.Popen(command, **QUIET)
    running.append(process)
    return process


def listens(port):
    for protocol in ("tcp", "udp"):
        with open("/proc/self/net/" + protocol) as sockets:
            if any(line.split()[1].endswith(":%04X" % port) for line in sockets.readlines()[1:]):
                return True
    return False


def follow(process):
    complaint = process.stderr.read().decode(errors="replace")
    code = process.wait()
    if ended.is_set():
        return
    if code != 0:
        sys.stderr.write("%s ended with %d\n%s" % (process.args[0], code, complaint[-2000:]))
        sys.stderr.flush()
        os._exit(1)
    if task["role"] == "host":
        say({"kind": "done", "atMs": time.monotonic() * 1000})


def watch(process):
    threading.Thread(target=follow, args=(process,), daemon=True).start()


if task["waiting"] is not None:
    process = run(task["waiting"])
    watch(process)
    while not listens(task["port"]) and process.poll() is None:
        time.sleep(0.01)
say({"kind": "ready"})
if sys.stdin.readline().strip() == "start":
    if task["starting"] is not None:
        watch(run(task["starting"]))
    sys.stdin.readline()
ended.set()
whole = all(process.poll() == 0 for process in running)
for process in running:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait()
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
say(
    {
        "kind": "report",
        "report": {
            "downloadedBytes": None,
            "uploadedBytes": None,
            "duplicateBytes": None,
            "cpuSeconds": usage.ru_utime + usage.ru_stime,
            "residentBytes": usage.ru_maxrss * 1024,
            "contentPath": task["contentPath"] if task["role"] == "host" and whole else None,
        },
    }
)

"""Verifies TUF repositories with Python's TUF, which we did not write: DIRECTORY NOW_MS. Run by scripts/check-tuf.ts.

DIRECTORY holds the states of one site, one after another: 1/, 2/, ... each with N.root.json, timestamp.json, snapshot.json, targets.json, the
delegated roles' files and targets/. Every state must be taken, by a newcomer and by who trusts the root of the first state; and must be refused with any one
metadata file or target changed by a byte. Prints one JSON line. Where python-tuf can't be imported, securesystemslib checks signatures,
canonical form, thresholds, versions and digests; where that is missing too, nothing is verified and it says so.
"""

import hashlib
import inspect
import json
import os
import sys
from datetime import datetime, timezone


class Refused(Exception):
    """Metadata that does not verify."""


def with_tuf():
    """Verifies with python-tuf's own client logic."""
    import tuf
    from tuf.api.exceptions import RepositoryError
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

    def trusted_set(root):
        if "envelope_type" not in inspect.signature(TrustedMetadataSet.__init__).parameters:
            return TrustedMetadataSet(root)
        from tuf.ngclient.config import EnvelopeType

        return TrustedMetadataSet(root, EnvelopeType.METADATA)

    def signed_part(role):
        """Older versions keep the whole file, newer ones what was signed."""
        return getattr(role, "signed", role)

    def verify(files, now):
        try:
            trusted = trusted_set(files["1.root.json"])
            reference = now if trusted.reference_time.tzinfo is not None else now.replace(tzinfo=None)
            trusted.reference_time = reference
            version = 2
            while f"{version}.root.json" in files:
                trusted.update_root(files[f"{version}.root.json"])
                version += 1
            trusted.update_timestamp(files["timestamp.json"])
            trusted.update_snapshot(files["snapshot.json"])
            trusted.update_delegated_targets(files["targets.json"], "targets", "root")
            targets = signed_part(trusted["targets"])
            listed = dict(targets.targets)
            for name in targets.delegations.roles:
                trusted.update_delegated_targets(files[f"{name}.json"], name, "targets")
                listed.update(signed_part(trusted[name]).targets)
            for path, target in listed.items():
                target.verify_length_and_hashes(files[f"targets/{path}"])
            return len(listed) + version + 2 + len(targets.delegations.roles)
        except RepositoryError as error:
            raise Refused(str(error)) from error

    return f"python-tuf {tuf.__version__}", verify


def with_securesystemslib():
    """The same chain walked here, with securesystemslib's keys and canonical JSON."""
    import securesystemslib
    from securesystemslib import formats, keys

    def load(data):
        try:
            return json.loads(data)
        except ValueError as error:
            raise Refused("no JSON") from error

    def require(holds, what):
        if not holds:
            raise Refused(what)

    def require_signed(metadata, role, known, what):
        message = formats.encode_canonical(metadata["signed"]).encode("utf-8")
        signers = set()
        for signature in metadata["signatures"]:
            key_id = signature["keyid"]
            if key_id not in role["keyids"] or key_id not in known:
                continue
            key = dict(known[key_id], keyid=key_id)
            digest = hashlib.sha256(formats.encode_canonical(known[key_id]).encode("utf-8")).hexdigest()
            require(digest == key_id, f"{what}: a key's id is not its digest")
            if keys.verify_signature(key, signature, message):
                signers.add(key_id)
        require(len(signers) >= role["threshold"], f"{what}: {len(signers)} of {role['threshold']} signatures")

    def require_listed(data, listed, what):
        require(len(data) == listed["length"], f"{what}: another length")
        require(hashlib.sha256(data).hexdigest() == listed["hashes"]["sha256"], f"{what}: another digest")

    def require_current(metadata, now, what):
        expires = datetime.strptime(metadata["signed"]["expires"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        require(now < expires, f"{what} has expired")

    def verify(files, now):
        try:
            root = load(files["1.root.json"])
            require_signed(root, root["signed"]["roles"]["root"], root["signed"]["keys"], "root 1")
            version = 2
            while f"{version}.root.json" in files:
                following = load(files[f"{version}.root.json"])
                for by in (root, following):
                    require_signed(following, by["signed"]["roles"]["root"], by["signed"]["keys"], f"root {version}")
                require(following["signed"]["version"] == version, f"root {version} says another version")
                root = following
                version += 1
            require_current(root, now, "root")
            top, known = root["signed"]["roles"], root["signed"]["keys"]

            def role(name):
                metadata = load(files[f"{name}.json"])
                require_signed(metadata, top[name], known, name)
                require_current(metadata, now, name)
                return metadata["signed"]

            require_listed(files["snapshot.json"], role("timestamp")["meta"]["snapshot.json"], "snapshot")
            snapshot = role("snapshot")
            require_listed(files["targets.json"], snapshot["meta"]["targets.json"], "targets")
            targets = role("targets")
            listed = dict(targets["targets"])
            delegations = targets["delegations"]
            for delegated in delegations["roles"]:
                name = delegated["name"]
                require_listed(files[f"{name}.json"], snapshot["meta"][f"{name}.json"], name)
                metadata = load(files[f"{name}.json"])
                require_signed(metadata, delegated, delegations["keys"], name)
                require(metadata["signed"]["version"] == snapshot["meta"][f"{name}.json"]["version"], f"{name} is of another version")
                listed.update(metadata["signed"]["targets"])
            for path, target in listed.items():
                require_listed(files[f"targets/{path}"], target, path)
            return len(listed) + version + 2 + len(delegations["roles"])
        except (KeyError, TypeError, AttributeError, securesystemslib.exceptions.Error) as error:
            raise Refused(f"out of form: {error!r}") from error

    import securesystemslib.exceptions

    return f"securesystemslib {securesystemslib.__version__}", verify


def read(directory):
    files = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, directory)] = file.read()
    return files


def changes(data):
    """The file with one bit changed, at places all over what is signed: one signature of three may be wrong where two must be right."""
    start = max(0, data.find(b'"signed"'))
    for at in range(start, len(data), max(1, (len(data) - start) // 12)):
        yield data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def main(directory, now_ms):
    missing = []
    for make in (with_tuf, with_securesystemslib):
        try:
            by, verify = make()
            break
        except ImportError as error:
            missing.append(str(error))
    else:
        print(json.dumps({"by": None, "missing": missing}))
        return 0
    now = datetime.fromtimestamp(int(now_ms) / 1000, timezone.utc)
    states = sorted(os.listdir(directory), key=int)
    verified = refused = 0
    for state in states:
        files = read(os.path.join(directory, state))
        try:
            verified += verify(files, now)
        except Refused as error:
            print(f"{by} refuses state {state}: {error}", file=sys.stderr)
            return 1
        for path, data in files.items():
            if path == "root.json":
                continue
            for changed in changes(data):
                try:
                    verify({**files, path: changed}, now)
                except Refused:
                    refused += 1
                else:
                    print(f"{by} takes state {state} with a changed byte in {path}", file=sys.stderr)
                    return 1
    print(json.dumps({"by": by, "missing": missing, "states": len(states), "verified": verified, "refused": refused}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

// Takes the download addresses out of package-lock.json: names, versions and integrity hashes pin what is installed,
// and each site installs from the registry that its own npm is set to. Run after every `npm install`.
import { readFileSync, writeFileSync } from "node:fs"

const lockfile = new URL("../package-lock.json", import.meta.url)
const lock = JSON.parse(readFileSync(lockfile, "utf8"))
for (const entry of Object.values(lock.packages)) if (/^https?:/.test(entry.resolved ?? "")) delete entry.resolved
writeFileSync(lockfile, `${JSON.stringify(lock, null, 2)}\n`)

/**
 * `npm run check:rootfs`: a real Debian root file system with one entry of every special kind, published, deployed through two servers
 * to two clients, and compared by rsync, which we did not write. Needs root, mmdebstrap, rsync, attr, acl and libcap2-bin.
 */
import { execFileSync, spawnSync } from "node:child_process"
import {
  closeSync,
  existsSync,
  ftruncateSync,
  linkSync,
  lutimesSync,
  openSync,
  readdirSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { TestGrid } from "../test/system/grid.ts"

const needed = ["mmdebstrap", "rsync", "setfattr", "setfacl", "setcap", "mknod", "mkfifo"]
const missing = needed.filter((tool) => spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0)
if (process.getuid?.() !== 0 || missing.length > 0) {
  console.error(`check:rootfs needs root and: ${needed.join(", ")}${missing.length > 0 ? `; missing: ${missing.join(", ")}` : ""}`)
  process.exit(78)
}

function buildRoot(root: string): void {
  const sources = ["/etc/apt/sources.list", ...listed("/etc/apt/sources.list.d")].filter(
    (file) => existsSync(file) && /\.(list|sources)$/.test(file),
  )
  execFileSync("mmdebstrap", ["--quiet", "--mode=root", "--variant=apt", "bookworm", root, ...sources], {
    stdio: ["ignore", "inherit", "inherit"],
  })
}

function listed(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : []
}

/** One of everything that a root file system may hold and a naive archive loses. */
function addSpecialEntries(root: string): void {
  const at = (name: string) => join(root, "special", name)
  execFileSync("mkdir", ["-p", at("")])
  execFileSync("mknod", [at("character-device"), "c", "1", "3"])
  execFileSync("mknod", [at("block-device"), "b", "7", "200"])
  execFileSync("mkfifo", ["-m", "0620", at("fifo")])
  writeFileSync(at("file"), "content\n")
  linkSync(at("file"), at("hard-link"))
  symlinkSync("../dangling target", at("symlink"))
  linkSync(at("symlink"), at("hard-link-of-symlink"))
  const sparse = openSync(at("sparse"), "w")
  ftruncateSync(sparse, 512 * 1024 * 1024)
  writeSync(sparse, "an island", 200 * 1024 * 1024)
  closeSync(sparse)
  writeFileSync(at("empty"), "")
  writeFileSync(at("n".repeat(255)), "a name of 255 bytes\n")
  writeFileSync(Buffer.concat([Buffer.from(at("not-utf8-")), Buffer.from([0xff, 0xfe, 0x80])]), "bytes\n")
  writeFileSync(at("new\nline"), "in its name\n")
  writeFileSync(at("xattrs"), "attributes\n")
  execFileSync("setfattr", ["-n", "user.binary", "-v", "0x00ff0a3d00", at("xattrs")])
  execFileSync("setfattr", ["-n", "user.a", "-v", "first", at("xattrs")])
  writeFileSync(at("capable"), "#!/bin/true\n", { mode: 0o755 })
  execFileSync("setcap", ["cap_net_raw,cap_net_admin+ep", at("capable")])
  execFileSync("mkdir", [at("acl-directory")])
  execFileSync("setfacl", ["-m", "u:1234:rwx,g:4321:r-x", "-m", "d:u:1234:rw-", at("acl-directory")])
  execFileSync("chown", ["4294967294:65534", at("xattrs")])
  writeFileSync(at("setuid"), "s\n")
  execFileSync("chmod", ["6711", at("setuid")])
  execFileSync("mkdir", ["-m", "1777", at("sticky")])
  utimesSync(at("file"), 1_234_567_890.123456, 981_173_106.987654)
  lutimesSync(at("symlink"), 1_000_000_000.5, 1_000_000_001.25)
  execFileSync("touch", ["-d", "2001-02-03T04:05:06.123456789Z", at("fifo")])
  execFileSync("touch", ["-d", "1969-07-20T20:17:40.000000001Z", at("empty")])
}

await using grid = new TestGrid()
const source = grid.home("rootfs")
console.log("building a Debian root file system with mmdebstrap ...")
buildRoot(source)
addSpecialEntries(source)
console.log(execFileSync("du", ["-sh", "--apparent-size", source], { encoding: "utf8" }).trim())

await grid.site()
await grid.joinServer("server-2")
const published = await (
  await grid.run(["publish", source, "debian:12", "--home", grid.home("server-1"), "--wait-copies", "2"])
).event("published")
console.log(
  `published ${String(published["entries"])} entries, ${String(published["sealedBytes"])} bytes sealed, in ${String(published["tookMs"])} ms; both servers hold it`,
)
const clients = ["client-1", "client-2"]
for (const client of clients) await grid.joinClient(client)
await Promise.all(
  clients.map((client) =>
    grid.run(["deploy", "debian:12", "--home", grid.home(client), "--target", grid.home(`${client}-root`), "--useful-over", "2s"]),
  ),
)
let differing = 0
for (const client of clients) {
  const words = ["-naHAXi", "--checksum", "--delete", "--numeric-ids", `${source}/`, `${grid.home(`${client}-root`)}/`]
  const printed = execFileSync("rsync", words, { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 })
  console.log(`rsync ${words.slice(0, 4).join(" ")} SOURCE/ ${client}/ printed ${printed === "" ? "nothing" : `:\n${printed}`}`)
  if (printed !== "") differing++
}
process.exitCode = differing === 0 ? 0 : 1

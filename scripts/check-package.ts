/**
 * `npm run check:package -- [--before COMMIT]` (root): makes the packages twice, of clones at two places, and compares them; installs the Debian package in a small Debian of its own, as a
 * person would, and runs a site with it: its server says when it is ready, a client deploys and verifies; upgrades the homes that the program of an earlier commit made; removes
 * and purges the package. Installs the npm package below a prefix and asks it for its version. Needs mmdebstrap, dpkg and python3. Exit code 1 at the first thing that is not as it should be.
 */
import { execFileSync, spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"

const { values } = parseArgs({ options: { before: { type: "string", default: "dbffd8d" } } })
const root = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "")
const directory = mkdtempSync(join(tmpdir(), "imagegrid-check-package-"))
const say = (text: string) => console.log(`[${(performance.now() / 1000).toFixed(1).padStart(6)} s] ${text}`)
const run = (command: string, words: readonly string[], options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {}) =>
  execFileSync(command, words, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], maxBuffer: 2 ** 28, ...options })
const require = (holds: boolean, what: string) => {
  if (!holds) throw new Error(`not so: ${what}`)
  say(what)
}
const chroot = join(directory, "debian")
/** Runs inside the small Debian. */
const inside = (...words: readonly string[]) => run("chroot", [chroot, ...words])
/** `NAME` of an event's field that a program printed with --json. */
const fieldOf = (said: string, event: string, name: string) => {
  const line = said.split("\n").find((one) => one.includes(`"event":"${event}"`))
  return String((JSON.parse(line ?? "{}") as Record<string, unknown>)[name])
}
const LISTENER = `import os,socket,sys
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.bind(sys.argv[1]); os.chmod(sys.argv[1],0o666)
while True: print(s.recv(4096).decode().replace("\\n"," "), flush=True)
`
const servers: ReturnType<typeof spawn>[] = []

function cloneAt(name: string): string {
  const path = join(directory, name)
  run("git", ["clone", "-q", root, path])
  cpSync(join(root, "node_modules"), join(path, "node_modules"), { recursive: true, verbatimSymlinks: true })
  return path
}

async function startServer(words: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<ReturnType<typeof spawn>> {
  const [command = "", ...rest] = words
  const server = spawn(command, [...rest, "--json"], { stdio: ["ignore", "pipe", "ignore"], env })
  servers.push(server)
  let said = ""
  server.stdout?.setEncoding("utf8").on("data", (text: string) => (said += text))
  for (const deadlineMs = Date.now() + 60_000; !said.includes("server-running"); await sleep(50))
    if (server.exitCode !== null || Date.now() > deadlineMs) throw new Error(`a server did not start: ${words.join(" ")}`)
  return server
}

async function stop(server: ReturnType<typeof spawn>): Promise<void> {
  const ended = new Promise((resolve) => server.once("exit", resolve))
  server.kill("SIGTERM")
  await ended
}

try {
  const digests = ["one", "a/longer/path/two"].map((name) => {
    const clone = cloneAt(name)
    run("npm", ["run", "package"], { cwd: clone })
    return readFileSync(join(clone, "dist/SHA256SUMS"), "utf8")
  })
  require(digests[0] === digests[1], "two clones at two places made the same packages, byte for byte")
  const dist = join(directory, "one/dist")
  const [npm = "", deb = ""] = (digests[0] ?? "")
    .trim()
    .split("\n")
    .map((line) => join(dist, line.split("  ")[1] ?? ""))
  for (const [path, line] of [npm, deb].map((file, at) => [file, digests[0]?.split("\n")[at] ?? ""] as const))
    require(line.startsWith(
      createHash("sha256").update(readFileSync(path)).digest("hex"),
    ), `${path.split("/").at(-1)} has the digest that SHA256SUMS says`)

  const prefix = join(directory, "prefix")
  const npmrc = { ...process.env, PATH: `${join(process.execPath, "..")}:${process.env["PATH"]}`, npm_config_offline: "true" }
  run("npm", ["install", "--global", "--prefix", prefix, npm], { env: npmrc })
  require(run(join(prefix, "bin/imagegrid"), ["--version"], { env: npmrc }).startsWith(
    "imagegrid ",
  ), "the npm package installs with nothing to fetch, and runs")

  run("mmdebstrap", ["--variant=minbase", "--include=systemd", "bookworm", chroot])
  say("a small Debian is made")
  mkdirSync(join(chroot, "srv/tree"), { recursive: true })
  for (let number = 0; number < 50; number += 1)
    writeFileSync(join(chroot, "srv/tree", `file-${number}`), `contents ${number}\n`.repeat(1_000))
  run("mount", ["--bind", "/proc", join(chroot, "proc")])
  run("mount", ["--bind", "/dev", join(chroot, "dev")])

  // An earlier program makes a site and a client with a tree, outside and inside.
  const before = join(directory, "before")
  run("git", ["clone", "-q", root, before])
  run("git", ["-C", before, "checkout", "-q", values.before])
  cpSync(join(root, "node_modules"), join(before, "node_modules"), { recursive: true, verbatimSymlinks: true })
  const old = (words: readonly string[]) => run(process.execPath, [join(before, "cli/main.ts"), ...words, "--json"])
  const [home, client, target] = [join(chroot, "var/lib/imagegrid"), join(chroot, "root/client"), join(chroot, "mnt/tree")]
  const ports = ["--api", "127.0.0.1:27400", "--swarm", "127.0.0.1:27401", "--dht", "127.0.0.1:27402"]
  old(["site", "create", "lab", "--home", home, ...ports])
  const oldServer = await startServer([process.execPath, join(before, "cli/main.ts"), "server", "run", "--home", home])
  old(["publish", join(chroot, "srv/tree"), "os:1", "--home", home])
  const invite = fieldOf(old(["invite", "--home", home]), "invite", "invite")
  old(["join", invite, "--home", client, "--swarm", "127.0.0.1:0", "--dht", "127.0.0.1:0"])
  old(["deploy", "os", "--home", client, "--target", target, "--seed-until", "done"])
  await stop(oldServer)
  say(`the program of ${values.before} made a site, an image and a client with a tree`)

  cpSync(deb, join(chroot, "root/imagegrid.deb"))
  inside("dpkg", "-i", "/root/imagegrid.deb")
  require(inside("stat", "-c", "%U %a", "/var/lib/imagegrid").trim() ===
    "imagegrid 700", "the package made its user, to whom the state belongs")
  inside("chown", "-R", "imagegrid:imagegrid", "/var/lib/imagegrid")
  inside("systemd-analyze", "verify", "/usr/lib/systemd/system/imagegrid-server.service")
  say("systemd-analyze finds nothing wrong with the unit")

  const socket = "/run/notify"
  writeFileSync(join(directory, "listener.py"), LISTENER)
  const listener = spawn("python3", [join(directory, "listener.py"), join(chroot, socket)], { stdio: ["ignore", "pipe", "inherit"] })
  servers.push(listener)
  let told = ""
  listener.stdout?.setEncoding("utf8").on("data", (text: string) => (told += text))
  for (; !existsSync(join(chroot, socket));) await sleep(50)
  const env = { ...process.env, NOTIFY_SOCKET: socket, IMAGEGRID_HOME: "/var/lib/imagegrid" }
  const server = await startServer(["chroot", "--userspec=imagegrid:imagegrid", chroot, "/usr/bin/imagegrid", "server", "run"], env)
  for (const deadlineMs = Date.now() + 10_000; !told.includes("READY=1") && Date.now() < deadlineMs;) await sleep(50)
  require(told.includes("READY=1"), "the installed server took over the home of the earlier program, and told systemd when it was ready")
  require(inside("imagegrid", "images", "--home", "/var/lib/imagegrid").includes("os"), "the image is there")
  // The client's tree was deployed from outside; the program that is installed inside works there too.
  const installed = join(chroot, "usr/lib/imagegrid/bin/imagegrid")
  run(installed, ["verify", "--home", client, "--target", target])
  say("the client's tree verifies")
  writeFileSync(join(chroot, "srv/tree/new"), "new\n")
  run("chroot", [
    "--userspec=imagegrid:imagegrid",
    chroot,
    "/usr/bin/imagegrid",
    "publish",
    "/srv/tree",
    "os:2",
    "--from",
    "os:1",
    "--home",
    "/var/lib/imagegrid",
  ])
  run(installed, ["update", "--home", client, "--target", target, "--seed-until", "done"])
  require(readFileSync(join(target, "new"), "utf8") === "new\n", "a new version was published, and the client updated to it")
  await stop(server)
  for (const deadlineMs = Date.now() + 5_000; !told.includes("STOPPING=1") && Date.now() < deadlineMs;) await sleep(50)
  require(told.includes("STOPPING=1"), "the server said that it stops")

  inside("dpkg", "--remove", "imagegrid")
  require(!existsSync(join(chroot, "usr/lib/imagegrid")) &&
    existsSync(join(home, "keys/root.key")), "removed: the program is gone, the home is there")
  inside("dpkg", "--purge", "imagegrid")
  require(existsSync(join(home, "keys/root.key")), "purged: the home with its keys is there still")
  console.log("all as it should be")
} catch (error) {
  console.error(error)
  process.exitCode = 1
} finally {
  for (const server of servers) server.kill("SIGKILL")
  for (const name of ["proc", "dev"])
    try {
      run("umount", ["-l", join(chroot, name)])
    } catch {
      // It was not mounted.
    }
  rmSync(directory, { recursive: true, force: true })
}

/**
 * `npm run check:versions`: five states of a real Debian root (packages upgraded, installed, removed), published as versions that are made from one another.
 * One client updates from the first to the last, one deploys the last afresh, one takes every step; rsync, which we did not write, compares the three trees.
 * Then the bytes of each step stand beside what other tools need for it. Needs root, the network of Debian's archive, and the tools below.
 */
import { execFileSync, spawnSync } from "node:child_process"
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { TestGrid } from "../test/system/grid.ts"

const { values } = parseArgs({ options: { states: { type: "string" }, out: { type: "string" } } })
const needed = ["mmdebstrap", "rsync", "tar", "zstd", "xdelta3", "casync", "chroot"]
const missing = needed.filter((tool) => spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0)
if (process.getuid?.() !== 0 || missing.length > 0) {
  console.error(`check:versions needs root and: ${needed.join(", ")}${missing.length > 0 ? `; missing: ${missing.join(", ")}` : ""}`)
  process.exit(78)
}

const FIRST =
  "python3,openssl,curl,git,perl,vim-tiny,openssh-server,nginx,bind9-dnsutils,sqlite3,rsync,less,locales,libxml2,tcpdump,gnupg,sudo,wget,tmux,htop,gcc,libc6-dev,openjdk-17-jre-headless,postgresql-client"
const UPGRADED =
  "apt bind9-dnsutils bind9-host bind9-libs libapt-pkg6.0 libbrotli1 libexpat1 liblzma5 libnss3 libssl3 openssl linux-libc-dev nginx nginx-common perl perl-base perl-modules-5.36 libperl5.36 python3.11 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib"
const INSTALLED = "jq tree strace lsof ncdu zip unzip iotop iftop ethtool dnsmasq-base socat screen bc file xz-utils zstd pigz nano ed"
const REMOVED = "postgresql-client tcpdump htop tmux ncdu strace lsof tree iotop iftop dnsmasq-base socat screen bc nano ed zip unzip jq"
const STEPS: readonly (readonly string[])[] = [
  ["install", "-y", "-q", "--only-upgrade", ...UPGRADED.split(" ")],
  ["install", "-y", "-q", "--no-install-recommends", ...INSTALLED.split(" ")],
  ["purge", "-y", "-q", "--autoremove", ...REMOVED.split(" ")],
  ["upgrade", "-y", "-q"],
]
const MIRROR = "http://deb.debian.org"

const work = mkdtempSync(join(tmpdir(), "imagegrid-versions-"))
const states = values.states ?? join(work, "states")
const stateOf = (version: number) => join(states, String(version))

function sh(command: string): string {
  return execFileSync("bash", ["-c", `set -o pipefail; ${command}`], {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    stdio: ["ignore", "pipe", "ignore"],
  })
}

/** Each state from the one before, by apt itself. */
function makeStates(): void {
  mkdirSync(states, { recursive: true })
  console.log("building the first state")
  sh(`mmdebstrap --quiet --mode=root --variant=apt --include=${FIRST} bookworm ${stateOf(1)} "deb ${MIRROR}/debian bookworm main"`)
  writeFileSync(join(stateOf(1), "usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n", { mode: 0o755 })
  sh(`chroot ${stateOf(1)} apt-get clean; rm -rf ${stateOf(1)}/var/lib/apt/lists/*`)
  for (const [number, words] of STEPS.entries()) {
    const root = stateOf(number + 2)
    console.log(`building state ${number + 2}: apt-get ${words.slice(0, 1).join(" ")}`)
    sh(`cp -a ${stateOf(number + 1)} ${root}`)
    copyFileSync("/etc/resolv.conf", join(root, "etc/resolv.conf"))
    writeFileSync(
      join(root, "etc/apt/sources.list"),
      `deb ${MIRROR}/debian bookworm main\ndeb ${MIRROR}/debian-security bookworm-security main\n`,
    )
    sh(`mount -t proc proc ${root}/proc`)
    try {
      sh(`chroot ${root} apt-get update -q; DEBIAN_FRONTEND=noninteractive LC_ALL=C chroot ${root} apt-get ${words.join(" ")}`)
      sh(`chroot ${root} apt-get clean; rm -rf ${root}/var/lib/apt/lists/*`)
    } finally {
      sh(`umount ${root}/proc`)
    }
  }
}

type Row = { readonly step: string; readonly [tool: string]: string | number }

/** Bytes that each of them would move for one step. */
function othersFor(step: number): Record<string, number> {
  const [before, after] = [stateOf(step), stateOf(step + 1)]
  const tar = (version: number) => join(work, `${version}.tar`)
  for (const version of [step, step + 1])
    if (!existsSync(tar(version))) sh(`tar -C ${stateOf(version)} --sort=name --numeric-owner --xattrs -cf ${tar(version)} .`)
  const snapshot = join(work, `snapshot-${step}`)
  // GNU tar goes by inode and ctime: the states must be one tree at two times.
  const tree = join(work, "tree")
  sh(
    `rsync -aHAX --delete ${before}/ ${tree}/; rm -f ${snapshot}; tar -C ${tree} -g ${snapshot} -cf /dev/null .; sleep 1.1; rsync -aHAX --delete ${after}/ ${tree}/`,
  )
  const incremental = Number(sh(`tar -C ${tree} -g ${snapshot} -cf - . | zstd -3 -q -c | wc -c`))
  const copy = join(work, "copy")
  sh(`rsync -aHAX --delete ${before}/ ${copy}/`)
  const stats = sh(`rsync -aHAXz --no-whole-file --delete --numeric-ids --stats ${after}/ ${copy}/`)
  const rsync = [...stats.matchAll(/Total bytes (?:sent|received): ([\d,]+)/g)].reduce(
    (sum, [, count = "0"]) => sum + Number(count.replaceAll(",", "")),
    0,
  )
  const store = join(work, "chunks.castr")
  const sizeOf = () => Number(sh(`find ${store} -type f -printf '%s\\n' | awk '{ sum += $1 } END { print sum + 0 }'`))
  sh(`casync make --store=${store} ${join(work, "before.caidx")} ${before} > /dev/null`)
  const chunksBefore = sizeOf()
  sh(`casync make --store=${store} ${join(work, "after.caidx")} ${after} > /dev/null`)
  const casync = sizeOf() - chunksBefore + statSync(join(work, "after.caidx")).size
  const patchFrom = Number(sh(`zstd -q -19 --long=31 --patch-from=${tar(step)} -c ${tar(step + 1)} | wc -c`))
  const xdelta = Number(sh(`xdelta3 -e -9 -S djw -B 1000000000 -c -s ${tar(step)} ${tar(step + 1)} | wc -c`))
  rmSync(tar(step))
  return { "tar -g | zstd -3": incremental, "rsync -z": rsync, casync, "zstd -19 --patch-from": patchFrom, "xdelta3 -9": xdelta }
}

function requireSame(wanted: string, found: string, who: string): void {
  const differences = sh(`rsync -naHAXi --checksum --delete --numeric-ids --exclude=/.imagegrid ${wanted}/ ${found}/`)
  if (differences !== "") throw new Error(`${who}: rsync found differences:\n${differences.slice(0, 2_000)}`)
  console.log(`${who}: rsync found no difference`)
}

const rows: Row[] = []
try {
  if (values.states === undefined) makeStates()
  {
    await using grid = new TestGrid()
    const [golden, home] = [grid.home("golden"), grid.home("server-1")]
    await grid.site()
    await grid.joinClient("client")
    const client = (...words: string[]) => [...words, "--home", grid.home("client"), "--seed-until", "done"]
    const root = (name: string) => ["--target", grid.home(name)] as const
    const published: Record<string, unknown>[] = []
    for (let version = 1; version <= 5; version += 1) {
      sh(`rsync -aHAX --delete ${stateOf(version)}/ ${golden}/; sleep 2.1`)
      const from = version === 1 ? [] : ["--from", `debian:${version - 1}`]
      const program = await grid.run(["publish", golden, `debian:${version}`, "--home", home, ...from])
      published.push(await program.event("published"))
      if (version === 1) for (const name of ["jumps", "steps"]) await grid.run([...client("deploy", "debian:1"), ...root(name)])
      else await grid.run([...client("update", `debian:${version}`), ...root("steps")])
    }
    await grid.run([...client("update", "debian:5"), ...root("jumps")])
    await grid.run([...client("deploy", "debian:5"), ...root("afresh")])
    for (const [name, who] of [
      ["jumps", "updated from 1 to 5"],
      ["steps", "updated step by step"],
      ["afresh", "deployed 5 afresh"],
    ] as const)
      requireSame(golden, grid.home(name), who)
    for (const [number, event] of published.entries()) {
      if (number === 0) continue
      const { sealedBytes } = event["delta"] as { sealedBytes: number }
      rows.push({
        step: `${number} to ${number + 1}`,
        imagegrid: sealedBytes,
        "whole image": Number(event["sealedBytes"]),
        tookMs: Number(event["tookMs"]),
      })
    }
  }
  for (const [number, row] of rows.entries()) {
    console.log(`other tools, step ${row.step}`)
    const others = othersFor(number + 1)
    const files = Math.min(others["tar -g | zstd -3"] ?? Infinity, others["rsync -z"] ?? Infinity, others["casync"] ?? Infinity)
    const patches = Math.min(others["zstd -19 --patch-from"] ?? Infinity, others["xdelta3 -9"] ?? Infinity)
    const ours = Number(row["imagegrid"])
    rows[number] = { ...row, ...others, "/ best by files": (ours / files).toFixed(2), "/ best patch": (ours / patches).toFixed(2) }
  }
  console.table(rows)
  if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify(rows, null, 2)}\n`)
} finally {
  rmSync(work, { recursive: true, force: true })
}

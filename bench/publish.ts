/**
 * `npm run bench:publish [-- --tree DIR] [--rounds N] [--work DIR]`: what a publish does to a tree, ours beside the shell pipeline that
 * people would write, in the same run, rounds taking turns, medians. Both give one sealed file, the SHA-256 of the
 * archive, the SHA-256 of the sealed file and its SHA-1 (ours per piece; the pipeline's over the whole, which is the same bytes). Ours also
 * hashes every file for the index, and seals that as a second layer.
 *
 * CPU-seconds are those of all processes, as bash counts them, Node's start included.
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, statSync } from "node:fs"
import { availableParallelism, cpus, tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { newImageIdentity } from "#crypto/age.ts"
import { sealImage } from "#image/seal-image.ts"

type Sample = { readonly seconds: number; readonly cpuSeconds: number; readonly sealedBytes: number; readonly contentBytes: number }

const { values } = parseArgs({
  options: {
    tree: { type: "string", default: join(import.meta.dirname, "../node_modules") },
    rounds: { type: "string", default: "5" },
    work: { type: "string" },
    /** One measured run of ours, in a process of its own: RECIPIENT. */
    seal: { type: "string" },
  },
})
const tree = resolve(values.tree)

if (values.seal !== undefined) {
  const image = await sealImage({ directory: tree, workDirectory: values.work ?? ".", recipient: values.seal })
  console.log(
    JSON.stringify({
      sealedBytes: image.full.sealedBytes,
      contentBytes: image.full.contentBytes,
      index: image.index.sealedBytes,
      entries: image.entryCount,
    }),
  )
} else await compare()

async function compare(): Promise<void> {
  const missing = ["bash", "tar", "zstd", "age", "sha256sum", "sha1sum", "tee"].filter((tool) => !isInstalled(tool))
  if (missing.length > 0) {
    console.error(`bench:publish compares with a pipeline that needs ${missing.join(", ")}: install them (Debian: apt install age zstd)`)
    process.exit(78)
  }
  const rounds = Number(values.rounds)
  const work = mkdtempSync(join(values.work ?? (isDirectory("/dev/shm") ? "/dev/shm" : tmpdir()), "bench-publish-"))
  const { recipient } = await newImageIdentity()
  const subjects = [
    { name: "imagegrid", run: () => ours(work, recipient) },
    { name: "tar, zstd -3, age, then sha256sum, sha1sum", run: () => pipeline(work, recipient, "sha256sum", "sha1sum") },
    ...(isInstalled("openssl")
      ? [{ name: "the same with openssl's digests", run: () => pipeline(work, recipient, "openssl dgst -sha256", "openssl dgst -sha1") }]
      : []),
  ]
  try {
    console.log(
      `tree ${tree}; ${cpus()[0]?.model.trim() ?? "?"}, ${availableParallelism()} cores; work in ${work}; ${rounds} rounds after one to warm up`,
    )
    const samples = subjects.map((): Sample[] => [])
    for (let round = 0; round <= rounds; round += 1)
      for (const [at, subject] of subjects.entries()) {
        const sample = subject.run()
        if (round > 0) samples[at]?.push(sample)
      }
    console.log("")
    console.log("| median of | seconds | MB/s | CPU-s per GB | sealed MB |")
    console.log("| --- | --- | --- | --- | --- |")
    for (const [at, subject] of subjects.entries()) {
      const mine = samples[at] ?? []
      const contentBytes = samples[0]?.[0]?.contentBytes ?? 0
      const seconds = median(mine.map((sample) => sample.seconds))
      const cpuPerGb = (median(mine.map((sample) => sample.cpuSeconds)) / contentBytes) * 1e9
      const sealedMb = (mine[0]?.sealedBytes ?? 0) / 1e6
      console.log(
        `| ${subject.name} | ${seconds.toFixed(2)} | ${(contentBytes / 1e6 / seconds).toFixed(0)} | ${cpuPerGb.toFixed(1)} | ${sealedMb.toFixed(1)} |`,
      )
    }
    const [first, ...others] = samples.map((mine) => median(mine.map((sample) => sample.seconds)))
    console.log("")
    for (const [at, other] of others.entries())
      console.log(`imagegrid takes ${((first ?? 0) / other).toFixed(2)} times as long as: ${subjects[at + 1]?.name}`)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

function ours(work: string, recipient: string): Sample {
  const script = `"$NODE" "$SCRIPT" --seal "$RECIPIENT" --tree "$TREE" --work "$WORK"; status=$?; rm -f "$WORK"/*; exit $status`
  const { output, ...times } = timed(script, work, recipient)
  return { ...times, ...(JSON.parse(output) as { sealedBytes: number; contentBytes: number }) }
}

function pipeline(work: string, recipient: string, sha256: string, sha1: string): Sample {
  const script = `
    set -e -o pipefail
    mkfifo "$WORK/archive"
    ${sha256} < "$WORK/archive" > "$WORK/archive.sha256" &
    tar --create --sort=name --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime --numeric-owner \\
      --xattrs --xattrs-include='*' --sparse --sparse-version=0.0 --directory="$TREE" . | tee "$WORK/archive" | zstd -q -3 | age -r "$RECIPIENT" > "$WORK/sealed"
    wait
    ${sha256} < "$WORK/sealed" > "$WORK/sealed.sha256"
    ${sha1} < "$WORK/sealed" > "$WORK/sealed.sha1"
    stat -c %s "$WORK/sealed"
    rm -f "$WORK"/*`
  const { output, ...times } = timed(script, work, recipient)
  return { ...times, sealedBytes: Number(output.trim()), contentBytes: 0 }
}

function timed(script: string, work: string, recipient: string): { seconds: number; cpuSeconds: number; output: string } {
  const run = spawnSync("bash", ["-c", `TIMEFORMAT='%R %U %S'; time ( ${script} )`], {
    env: {
      ...process.env,
      LC_ALL: "C",
      NODE: process.execPath,
      SCRIPT: import.meta.filename,
      TREE: tree,
      WORK: work,
      RECIPIENT: recipient,
    },
    encoding: "utf8",
  })
  const lines = run.stderr.trim().split("\n")
  const [seconds = 0, user = 0, system = 0] = (lines.pop() ?? "").split(" ").map(Number)
  if (run.status !== 0 || lines.length > 0) throw new Error(`a run failed: ${lines.join("; ")}`)
  return { seconds, cpuSeconds: user + system, output: run.stdout }
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2
}

function isInstalled(tool: string): boolean {
  return (process.env["PATH"] ?? "")
    .split(":")
    .some((directory) => statSync(join(directory, tool), { throwIfNoEntry: false }) !== undefined)
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}

/**
 * Makes a tree of which most is there already in another one on the same file system: files that are the same in both share their blocks (reflink) or are
 * one file (hard link), where that is wanted and the file system can; all else is made anew.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { GridError } from "#core/errors.ts"
import { bytesOf, type ByteString } from "./byte-string.ts"
import type { Entry } from "./entry.ts"
import { makeTree, type StagedTreeParts } from "./staged-tree.ts"
import { indexLine, type TreeIndex } from "./tree-index.ts"
import { restoreDirectory } from "./tree-steps.ts"
import { parentOf } from "./update-plan.ts"

/**
 * `reflink`: blocks are shared until one side is written to. `hard-link`: one file under two names, which is right only for trees that nobody writes to in
 * place: a change in one would be a change in both. `copy`: nothing is shared.
 */
export type Sharing = "reflink" | "hard-link" | "copy"

/** Bytes of names on one command line. */
const BATCH_BYTES = 64 * 1024

/** How many files are shared. @throws {GridError} EXTRACT_FAILED, and what `makeTree` throws */
export async function makeShared(
  parts: StagedTreeParts & { readonly from: { readonly directory: string; readonly index: TreeIndex }; readonly sharing: Sharing },
): Promise<number> {
  const { directory, entries, from, sharing, signal } = parts
  const shared = sharing === "copy" ? [] : sharedFiles(entries, from.index)
  const names = new Set(shared.map(({ path }) => path))
  await makeTree({ ...parts, entries: entries.filter(({ path }) => !names.has(path)) })
  if (shared.length === 0 || sharing === "copy") return 0
  for (const batch of batches(shared)) {
    signal?.throwIfAborted()
    await copyFiles(from.directory, directory, batch, sharing)
  }
  // Every name that came changed the time of its directory, and cp gives all on the way what they are where it copies from; the innermost first.
  const touched = new Set<ByteString>()
  for (const { path } of shared)
    for (let above = parentOf(path); above !== null && !touched.has(above); above = parentOf(above)) touched.add(above)
  for (const { kind, ...entry } of entries.toReversed())
    if (kind === "directory" && touched.has(entry.path)) await restoreDirectory(directory, { is: "attributes", ...entry })
  return shared.length
}

/** Files that stand under the same path with the same content and attributes, and under no second name; names that are no UTF-8 can't be passed on. */
function sharedFiles(entries: readonly Entry[], index: TreeIndex): Entry[] {
  const linked = new Set<ByteString>()
  for (const tree of [entries, index.entries()]) for (const entry of tree) if (entry.kind === "hardlink") linked.add(entry.target)
  const there = new Map<ByteString, string>()
  for (const entry of index.entries()) if (entry.kind === "file" && entry.size > 0) there.set(entry.path, indexLine(entry))
  return entries.filter((entry) => {
    if (entry.kind !== "file" || linked.has(entry.path) || there.get(entry.path) !== indexLine(entry)) return false
    return Buffer.from(bytesOf(entry.path).toString("utf8")).equals(bytesOf(entry.path))
  })
}

function* batches(files: readonly Entry[]): Generator<string[]> {
  let [batch, bytes]: [string[], number] = [[], 0]
  for (const { path } of files) {
    const name = bytesOf(path).toString("utf8")
    if (bytes + name.length > BATCH_BYTES) {
      yield batch
      ;[batch, bytes] = [[], 0]
    }
    batch.push(`./${name}`)
    bytes += name.length + 3
  }
  if (batch.length > 0) yield batch
}

/** By GNU cp: contents, all attributes and the times to the nanosecond. */
async function copyFiles(from: string, to: string, names: readonly string[], sharing: Exclude<Sharing, "copy">): Promise<void> {
  const how = sharing === "hard-link" ? "--link" : "--reflink=always"
  const child = spawn("cp", ["--parents", "--no-dereference", "--preserve=all", how, `--target-directory=${to}`, "--", ...names], {
    cwd: from,
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, LC_ALL: "C" },
  })
  let complaint = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint = (complaint + text).slice(0, 2_000)))
  const [code] = (await once(child, "close")) as [number | null]
  if (code === 0 && complaint === "") return
  const why = complaint.split("\n")[0] ?? ""
  throw new GridError(
    /Operation not supported|Invalid cross-device link|Function not implemented/.test(complaint) ? "TARGET_UNSUITABLE" : "EXTRACT_FAILED",
    `files can't be shared between ${from} and ${to} (${why}); choose another way with --share`,
  )
}

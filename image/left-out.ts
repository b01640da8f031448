/**
 * What of a tree is not looked at: what people exclude by patterns, what the kernel makes up (/proc), and file systems mounted where an image has nothing
 * but the directory that they are mounted on.
 */
import { readdirSync, readFileSync, realpathSync } from "node:fs"
import { setImmediate as nextTurn } from "node:timers/promises"
import { GridError } from "#core/errors.ts"
import { bytesOf, byteString, printable, type ByteString } from "./byte-string.ts"
import type { Entry } from "./entry.ts"
import { pathMatcher } from "./path-patterns.ts"

export type LeftOut = {
  /** The topmost of them, as they are now. */
  readonly paths: readonly ByteString[]
  /** Whether a path is left out, or below one that is. */
  readonly has: (path: ByteString) => boolean
}

/** They hold no file that an image could. */
const KERNEL_TYPES = new Set(
  "autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue nsfs proc pstore rpc_pipefs securityfs selinuxfs sysfs tracefs".split(
    " ",
  ),
)
/** Each becomes a word on a command line. */
const PATHS_MAX = 4_000
const SLICE_MS = 10

/** @throws {GridError} NAME_INVALID, TARGET_UNSUITABLE where the patterns match more names than can be passed over one by one */
export async function leftOut(directory: string, patterns: readonly string[], image: Iterable<Entry>): Promise<LeftOut> {
  const isExcluded = pathMatcher(patterns)
  const top = realpathSync(directory)
  const { unused } = mountsOf(top, isExcluded, image)
  const paths = patterns.length === 0 ? unused : [...unused, ...(await matching(top, isExcluded, new Set(unused)))]
  if (paths.length > PATHS_MAX)
    throw new GridError(
      "TARGET_UNSUITABLE",
      `the patterns match ${paths.length} names in ${directory}, ${PATHS_MAX} are taken; exclude the directories that they are in`,
    )
  return { paths, has: (path) => isExcluded(path) || unused.some((one) => path === one || path.startsWith(`${one}/`)) }
}

/**
 * Refuses a target where the image has files on another file system: names move between what was and what is new, and can't from one to another.
 * @throws {GridError} TARGET_UNSUITABLE
 */
export function requireOneFileSystem(directory: string, patterns: readonly string[], image: Iterable<Entry>): void {
  const { used } = mountsOf(realpathSync(directory), pathMatcher(patterns), image)
  const [first] = used
  if (first === undefined) return
  const more = used.length === 1 ? "" : ` (and ${used.length - 1} more)`
  throw new GridError(
    "TARGET_UNSUITABLE",
    `${printable(first)}${more} is a file system of its own in the target, and the image has files there. Unmount it, or never touch it: --exclude /${printable(first)}`,
  )
}

type Mounts = {
  /** The image has something in them. */
  readonly used: readonly ByteString[]
  readonly unused: readonly ByteString[]
}

function mountsOf(top: string, isExcluded: (path: ByteString) => boolean, image: Iterable<Entry>): Mounts {
  const all = mountsBelow(readFileSync("/proc/self/mountinfo", "latin1"), byteString(Buffer.from(top)))
  const mounts = all.filter(({ path }) => !isExcluded(path))
  const inUse = new Set<ByteString>()
  const asked = mounts.filter(({ isOfKernel }) => !isOfKernel).map(({ path }) => path)
  if (asked.length > 0) for (const { path } of image) for (const mount of asked) if (path.startsWith(`${mount}/`)) inUse.add(mount)
  return { used: [...inUse], unused: mounts.map(({ path }) => path).filter((path) => !inUse.has(path)) }
}

export type Mount = { readonly path: ByteString; readonly isOfKernel: boolean }

/** Of the text of /proc/self/mountinfo (proc_pid_mountinfo(5)), those below `top`, each once. */
export function mountsBelow(text: string, top: ByteString): Mount[] {
  const prefix = top === "/" ? "/" : `${top}/`
  const found = new Map<ByteString, Mount>()
  for (const line of text.split("\n")) {
    const [before = "", after = ""] = line.split(" - ")
    const point = (before.split(" ")[4] ?? "").replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    )
    if (!point.startsWith(prefix) || point === prefix) continue
    const path = point.slice(prefix.length) as ByteString
    // A later mount hides an earlier one.
    found.set(path, { path, isOfKernel: KERNEL_TYPES.has(after.split(" ")[0] ?? "") })
  }
  return [...found.values()]
}

/** The topmost names that are excluded, by a walk that reads no file. Names that are no UTF-8 can't be passed on, and are read. */
async function matching(top: string, isExcluded: (path: ByteString) => boolean, unused: ReadonlySet<ByteString>): Promise<ByteString[]> {
  const found: ByteString[] = []
  let untilMs = performance.now() + SLICE_MS
  const visit = async (path: ByteString | null): Promise<void> => {
    const at = path === null ? Buffer.from(top) : Buffer.concat([Buffer.from(`${top}/`), bytesOf(path)])
    for (const entry of readdirSync(at, { encoding: "buffer", withFileTypes: true })) {
      if (performance.now() > untilMs) {
        await nextTurn()
        untilMs = performance.now() + SLICE_MS
      }
      const name = byteString(entry.name)
      const inner = (path === null ? name : `${path}/${name}`) as ByteString
      if (unused.has(inner)) continue
      if (!isExcluded(inner)) {
        if (entry.isDirectory()) await visit(inner)
      } else if (Buffer.from(bytesOf(inner).toString("utf8")).equals(bytesOf(inner))) found.push(inner)
    }
  }
  await visit(null)
  return found
}

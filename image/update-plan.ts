/**
 * From what a tree is to what it shall be: which entries are made anew, which go, which directories get other attributes. Decides from indexes alone.
 *
 * A tree that people work on differs from its image. What differs is a local change, but for the time of a directory, which changes whenever a name in it
 * does. Local changes stay or go as the policy says; what is excluded stays in any case and is no local change.
 */
import { GridError } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { printable, type ByteString } from "./byte-string.ts"
import { comparePaths, type Entry } from "./entry.ts"
import { WORK_DIRECTORY } from "./target.ts"
import { changesBetween } from "./tree-diff.ts"
import { encodeIndex, indexLine } from "./tree-index.ts"

/** `refuse`: with any local change nothing is done. `overwrite`: the tree becomes the image; what was local is kept aside until the next update. */
export type LocalPolicy = "keep" | "overwrite" | "refuse"

export type LocalChange = { readonly path: ByteString; readonly what: "changed" | "added" | "removed" }

/** One step. `number` names where what was there before is kept. */
export type Step =
  /** What stands at the path goes; a directory is empty by then, or goes with all that is in it. */
  | { readonly is: "take"; readonly path: ByteString; readonly number: number }
  /** What was made anew comes to the path, with all that is below it; what stands there goes. */
  | { readonly is: "place"; readonly path: ByteString; readonly number: number }
  /** A directory that was made anew, for its extended attributes, takes over all that is in the one at the path. */
  | { readonly is: "reseat"; readonly path: ByteString; readonly number: number }
  /** A directory that stays. */
  | {
      readonly is: "attributes"
      readonly path: ByteString
      readonly mode: number
      readonly uid: number
      readonly gid: number
      readonly mtimeNs: bigint
    }

export type UpdatePlan = {
  /** What the tree is afterwards, as the bytes of an index. */
  readonly expected: Buffer
  /** In the order in which they are done. */
  readonly steps: readonly Step[]
  /** What is made anew, in order, with the directories on the way there. */
  readonly made: readonly Entry[]
  readonly local: readonly LocalChange[]
  /** Bytes of `made`. */
  readonly madeBytes: number
}

type Trees = {
  /** What the tree was when it was last good. */
  readonly from: Iterable<Entry>
  /** What it is now. */
  readonly actual: Iterable<Entry>
  readonly to: Iterable<Entry>
}

/** @throws {GridError} TREE_CHANGED under `refuse`, TARGET_UNSUITABLE where the image has a name of our own */
export function planUpdate(trees: Trees, policy: LocalPolicy, isExcluded: (path: ByteString) => boolean): UpdatePlan {
  const actual = new Map(listed(trees.actual))
  const to = new Map(listed(trees.to))
  if (to.has(WORK_DIRECTORY as ByteString))
    throw new GridError("TARGET_UNSUITABLE", `the image has a name ${WORK_DIRECTORY} at its top, which updates use; publish it without`)
  const local = localChanges(trees.from, actual.values(), isExcluded)
  if (policy === "refuse") requireNone(local)
  const localPaths = new Set(policy === "keep" ? local.map(({ path }) => path) : [])
  const stays = (path: ByteString) => localPaths.has(path) || isExcluded(path)
  const chosen = choose(actual, to, stays)
  const anew = pathsMadeAnew({ actual, to, chosen, stays })
  const desired = relinked({ actual, to, chosen, stays }, anew)
  return { ...stepsBetween(actual, desired, anew), expected: encodeIndex(desired.values()), local }
}

function* listed(entries: Iterable<Entry>): Generator<[ByteString, Entry]> {
  for (const entry of entries) yield [entry.path, entry]
}

type Tree = ReadonlyMap<ByteString, Entry>

/** What differs from what the tree was when it was last good; both in order. */
export function localChanges(from: Iterable<Entry>, actual: Iterable<Entry>, isExcluded: (path: ByteString) => boolean): LocalChange[] {
  const found: LocalChange[] = []
  for (const { path, before, after } of changesBetween(from, actual)) {
    if (isExcluded(path)) continue
    if (
      before?.kind === "directory" &&
      after?.kind === "directory" &&
      indexLine({ ...before, mtimeNs: after.mtimeNs }) === indexLine(after)
    )
      continue
    found.push({ path, what: before === null ? "added" : after === null ? "removed" : "changed" })
  }
  return found
}

const LOCAL_SHOWN = 10

/** @throws {GridError} TREE_CHANGED */
export function requireNone(local: readonly LocalChange[]): void {
  if (local.length === 0) return
  const shown = local.slice(0, LOCAL_SHOWN).map(({ path, what }) => `${printable(path)} (${what})`)
  const more = local.length - shown.length
  throw new GridError(
    "TREE_CHANGED",
    `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}. Keep such changes with --local keep, give them up with --local overwrite, or never touch such paths with --exclude PATTERN`,
  )
}

type Choice = {
  readonly actual: Tree
  readonly to: Tree
  /** What each path shall be, in order: of `actual` where it stays, else of `to`. */
  readonly chosen: Tree
  readonly stays: (path: ByteString) => boolean
}

function choose(actual: Tree, to: Tree, stays: Choice["stays"]): Tree {
  const chosen = new Map<ByteString, Entry>()
  const paths = [...new Set([...actual.keys(), ...to.keys()])].sort(comparePaths)
  // A directory stays for what stays in it.
  const needed = new Set<ByteString>()
  for (const path of paths) if (stays(path) && actual.has(path)) for (const above of ancestors(path)) needed.add(above)
  for (const path of paths) {
    const [now, next] = [actual.get(path), to.get(path)]
    const parent = parentOf(path)
    const wanted = stays(path) || (needed.has(path) && next?.kind !== "directory") ? now : next
    if (wanted !== undefined && (parent === null || chosen.get(parent)?.kind === "directory")) chosen.set(path, wanted)
  }
  return chosen
}

/** What is new or other than it is, and all names of a file of which one is. Directories that only get other attributes are not. */
function pathsMadeAnew({ actual, to, chosen, stays }: Choice): Set<ByteString> {
  const anew = new Set<ByteString>()
  const links = new Map<ByteString, ByteString[]>()
  for (const [path, entry] of chosen) {
    if (stays(path) || entry !== to.get(path)) continue
    if (entry.kind === "hardlink" && chosen.get(entry.target) === to.get(entry.target) && !stays(entry.target))
      links.set(entry.target, [...(links.get(entry.target) ?? [entry.target]), path])
    const now = actual.get(path)
    if (now !== undefined && indexLine(now) === indexLine(entry)) continue
    if (entry.kind === "directory" && now?.kind === "directory" && sameXattrs(entry, now)) continue
    anew.add(path)
  }
  for (const names of links.values()) if (names.some((path) => anew.has(path))) for (const path of names) anew.add(path)
  return anew
}

/** The tree as it shall be, in order: a hard link whose target is another file by then is a file, and those that follow are links to it. */
function relinked({ actual, to, chosen }: Choice, anew: ReadonlySet<ByteString>): Map<ByteString, Entry> {
  const tree = new Map<ByteString, Entry>()
  const firsts = new Map<string, ByteString>()
  for (const [path, entry] of chosen) {
    if (entry.kind !== "hardlink") {
      tree.set(path, entry)
      continue
    }
    const { target } = entry
    const own = anew.has(path) ? to : actual
    const [file, there] = [own.get(target), chosen.get(target)]
    if (file === undefined) continue
    const same = there !== undefined && indexLine(there) === indexLine(file) && anew.has(target) === anew.has(path)
    const key = `${anew.has(path)} ${target}`
    const first = same ? target : firsts.get(key)
    if (first === undefined) firsts.set(key, path)
    tree.set(path, first === undefined ? { ...file, path } : { ...entry, target: first })
  }
  return tree
}

function stepsBetween(actual: Tree, desired: Tree, anew: ReadonlySet<ByteString>): Pick<UpdatePlan, "steps" | "made" | "madeBytes"> {
  const made = new Map<ByteString, Entry>()
  const [placing, taking, seating, attributes]: [Step[], Step[], Step[], Step[]] = [[], [], [], []]
  // The work itself is a name at the top.
  const touched = new Set<ByteString>(["." as ByteString])
  let number = 0
  const touch = (path: ByteString) => {
    const parent = parentOf(path)
    if (parent !== null) touched.add(parent)
  }
  /** Placed, or gone, as a whole. */
  let within: ByteString | null = null
  const isWithin = (path: ByteString) => within !== null && path.startsWith(`${within}/`)

  for (const [path, entry] of desired) {
    if (!anew.has(path)) continue
    for (const above of ancestors(path)) if (!made.has(above)) made.set(above, desired.get(above) ?? entry)
    made.set(path, entry)
    if (isWithin(path)) continue
    within = null
    const now = actual.get(path)
    if (entry.kind === "directory" && now?.kind === "directory") seating.push({ is: "reseat", path, number: (number += 1) })
    else {
      if (entry.kind === "directory") within = path
      placing.push({ is: "place", path, number: (number += 1) })
    }
    touch(path)
  }
  within = null
  for (const [path, now] of actual) {
    if (isWithin(path)) continue
    within = null
    const next = desired.get(path)
    if (next !== undefined && (next.kind === "directory" || now.kind !== "directory")) continue
    touch(path)
    if (next !== undefined) {
      // Below it everything goes, and the step that places the other thing takes the directory with it.
      within = path
      continue
    }
    // A directory goes with all that is in it, since nothing in it stays.
    if (now.kind === "directory") within = path
    taking.push({ is: "take", path, number: (number += 1) })
  }
  for (const [path, entry] of desired) {
    const now = actual.get(path)
    if (entry.kind !== "directory" || now?.kind !== "directory") continue
    if (!touched.has(path) && !anew.has(path) && indexLine(entry) === indexLine(now)) continue
    const { mode, uid, gid, mtimeNs } = entry
    attributes.push({ is: "attributes", path, mode, uid, gid, mtimeNs })
  }
  const list = [...made.values()].sort((a, b) => comparePaths(a.path, b.path))
  return {
    steps: [...placing, ...taking, ...seating.toReversed(), ...attributes.toReversed()],
    made: list,
    madeBytes: list.reduce((sum, entry) => sum + (entry.kind === "file" ? entry.size : 0), 0),
  }
}

/** Where, below the directory of what is kept aside, the content of each file is that the steps take away; `actual` is the tree before them. */
export function keptContents(steps: readonly Step[], actual: Iterable<Entry>): Map<Sha256, ByteString> {
  const numbers = new Map(steps.flatMap((step) => (step.is === "take" || step.is === "place" ? [[step.path, step.number] as const] : [])))
  const kept = new Map<Sha256, ByteString>()
  for (const entry of actual) {
    if (entry.kind !== "file") continue
    const above = [...ancestors(entry.path), entry.path].find((path) => numbers.has(path))
    if (above !== undefined) kept.set(entry.sha256, `${numbers.get(above)}${entry.path.slice(above.length)}` as ByteString)
  }
  return kept
}

function sameXattrs(a: Entry, b: Entry): boolean {
  return JSON.stringify(a.xattrs) === JSON.stringify(b.xattrs)
}

export function parentOf(path: ByteString): ByteString | null {
  if (path === ".") return null
  const slash = path.lastIndexOf("/")
  return (slash < 0 ? "." : path.slice(0, slash)) as ByteString
}

/** From the top down. */
function ancestors(path: ByteString): ByteString[] {
  const above: ByteString[] = []
  for (let at = parentOf(path); at !== null; at = parentOf(at)) above.push(at)
  return above.toReversed()
}

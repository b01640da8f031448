/** Trees with entries of all kinds, and edits of them, from dice. */
import { spawnSync } from "node:child_process"
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { isRoot, noise } from "./support.ts"

type Dice = () => number

const NAMES = ["a", "b", "c", "d", "e f", "g\nh", "i".repeat(120), "ü", "k%", "l", ".m", "n="]

function pick<Item>(dice: Dice, items: readonly Item[]): Item {
  return items[Math.floor(dice() * items.length)] as Item
}

/** Fills `top`, which is empty. */
export function growTree(top: string, dice: Dice): void {
  for (let count = 3 + Math.floor(dice() * 12); count > 0; count -= 1) addEntry(pick(dice, directoriesIn(top)), top, dice)
}

/** One to six edits of what is there. */
export function editTree(top: string, dice: Dice): void {
  for (let count = 1 + Math.floor(dice() * 6); count > 0; count -= 1) editOnce(top, dice)
}

function editOnce(top: string, dice: Dice): void {
  const all = entriesIn(top)
  const path = all.length === 0 ? null : pick(dice, all)
  const roll = dice()
  if (path === null || roll < 0.3) return addEntry(pick(dice, directoriesIn(top)), top, dice)
  const kind = lstatSync(path)
  if (roll < 0.45) return rmSync(path, { recursive: true })
  if (roll < 0.6) {
    // Another kind of thing under the same name.
    rmSync(path, { recursive: true })
    return addNamed(path, top, dice)
  }
  if (roll < 0.7) {
    const to = join(pick(dice, directoriesIn(top)), pick(dice, NAMES))
    if (!exists(to) && !`${to}/`.startsWith(`${path}/`)) renameSync(path, to)
    return
  }
  if (roll < 0.85 && kind.isFile()) {
    const bytes = readFileSync(path)
    if (bytes.length === 0) return writeFileSync(path, "no longer empty")
    const at = Math.floor(dice() * bytes.length)
    const size = Math.floor(dice() * 100)
    return writeFileSync(path, Buffer.concat([bytes.subarray(0, at), noise(size, at + 1), bytes.subarray(at)]))
  }
  attributes(path, dice)
}

function addEntry(directory: string, top: string, dice: Dice): void {
  const path = join(directory, pick(dice, NAMES))
  if (!exists(path)) addNamed(path, top, dice)
}

function addNamed(path: string, top: string, dice: Dice): void {
  const files = entriesIn(top).filter((entry) => !lstatSync(entry).isDirectory())
  const roll = dice()
  if (roll < 0.3) mkdirSync(path)
  else if (roll < 0.4) symlinkSync(pick(dice, ["a", "../b", "/etc/passwd", "x".repeat(150)]), path)
  else if (roll < 0.5 && files.length > 0) return linkSync(pick(dice, files), path)
  else if (roll < 0.55) spawnSync("mkfifo", [path])
  else if (roll < 0.6 && isRoot)
    spawnSync("mknod", [
      path,
      ...pick(dice, [
        ["c", "1", "3"],
        ["c", "5", "1"],
        ["b", "7", "9"],
      ]),
    ])
  else if (roll < 0.65) {
    writeFileSync(path, "x")
    truncateSync(path, Math.floor(3e6 * dice()) + 1)
  } else writeFileSync(path, noise(Math.floor(dice() * (dice() < 0.2 ? 200_000 : 2_000)), 1 + Math.floor(dice() * 5)))
  attributes(path, dice)
}

function attributes(path: string, dice: Dice): void {
  const kind = lstatSync(path)
  if (dice() < 0.3 && !kind.isSymbolicLink())
    chmodSync(path, pick(dice, [0o600, 0o644, 0o755, 0o700, ...(kind.isDirectory() ? [0o1777] : [0o4755])]))
  if (dice() < 0.2 && isRoot && !kind.isSymbolicLink()) chownSync(path, Math.floor(dice() * 3), Math.floor(dice() * 3))
  if (dice() < 0.2 && (kind.isFile() || kind.isDirectory()))
    spawnSync("setfattr", dice() < 0.3 ? ["-x", "user.test", path] : ["-n", "user.test", "-v", String(Math.floor(dice() * 3)), path])
  if (dice() < 0.5) lutimesSync(path, 1, Math.floor(dice() * 1e9) + (dice() < 0.5 ? 0.25 : 0))
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}

/** Node's own recursive listing follows links to directories, round and round. */
function entriesIn(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name)
    return entry.isDirectory() ? [path].concat(entriesIn(path)) : [path]
  })
}

function directoriesIn(top: string): string[] {
  return [top, ...entriesIn(top).filter((path) => lstatSync(path).isDirectory())]
}

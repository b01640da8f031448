/**
 * One process at a time in a home. The lock is the kernel's, taken through an open transaction on an SQLite file, so it is free at the
 * moment that its holder ends, however it ends. `lock.pid` only tells people who that is.
 */
import { accessSync, constants, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { GridError } from "#core/errors.ts"
import { isRunning } from "./process.ts"

export interface HomeLock extends Disposable {
  /** Frees the home. Calling it again does nothing. */
  release(): void
}

/** Result codes of SQLite, https://sqlite.org/rescode.html */
const SQLITE_BUSY = 5
const SQLITE_READONLY = 8
const SQLITE_CANTOPEN = 14
const SQLITE_NOTADB = 26

/** A database that nobody refers to is collected and closed, and its lock with it. */
const held = new Set<DatabaseSync>()

/**
 * Takes the lock of the directory `home`, or refuses at once.
 * @param name of another lock than the home's own, for something in it that is held for moments
 * @throws {GridError} HOME_IN_USE, HOME_INVALID when there is no such directory, NOT_PERMITTED, STATE_DAMAGED
 */
export function lockHome(home: string, name = "lock"): HomeLock {
  const path = join(home, name)
  const database = openLock(home, path)
  const pidFile = `${path}.pid`
  try {
    writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o644 })
  } catch {
    // A full disk must not keep a home from being used, if only to make room.
  }
  held.add(database)
  const release = () => {
    if (!held.delete(database)) return
    // Before the lock is free: the next holder's file must not be removed.
    rmSync(pidFile, { force: true })
    database.close()
  }
  return { release, [Symbol.dispose]: release }
}

function openLock(home: string, path: string): DatabaseSync {
  let database: DatabaseSync | null = null
  try {
    database = new DatabaseSync(path, { timeout: 0 })
    database.exec("PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
    return database
  } catch (cause) {
    database?.close()
    throw refusal(home, path, cause)
  }
}

function refusal(home: string, path: string, cause: unknown): unknown {
  const code = cause instanceof Error && "errcode" in cause && typeof cause.errcode === "number" ? cause.errcode & 0xff : null
  if (code === SQLITE_BUSY) {
    const pid = holder(path)
    const who = pid === null ? "another process" : `process ${pid}`
    return new GridError("HOME_IN_USE", `${home} is held by ${who}; wait until it ends or stop it, or name another home`, { cause })
  }
  if (code === SQLITE_NOTADB) return new GridError("STATE_DAMAGED", `${path} is not a lock; remove that file`, { cause })
  if (code !== SQLITE_CANTOPEN && code !== SQLITE_READONLY) return cause
  try {
    accessSync(home, constants.F_OK)
  } catch {
    return new GridError("HOME_INVALID", `${home} is not there; make a home with 'imagegrid site create' or 'imagegrid join'`, { cause })
  }
  return new GridError("NOT_PERMITTED", `${path} can't be written; run this as the user that the home belongs to`, { cause })
}

/** Null when it can't be told: the holder writes its number just after it has taken the lock. */
function holder(path: string): number | null {
  try {
    const pid = Number(readFileSync(`${path}.pid`, "utf8").slice(0, 20).trim())
    return Number.isInteger(pid) && pid > 0 && isRunning(pid) ? pid : null
  } catch {
    return null
  }
}

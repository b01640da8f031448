/** One process at a time changes what a home keeps under `keys/`, whether a server runs in it or not. */
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { GridError } from "#core/errors.ts"
import { lockHome, type HomeLock } from "#store/home-lock.ts"

const ATTEMPTS = 50
const PAUSE_MS = 100

/** @throws {GridError} HOME_IN_USE when another process holds them for seconds */
export async function lockKeys(homeDirectory: string): Promise<HomeLock> {
  for (let attempt = 1; ; attempt++)
    try {
      return lockHome(join(homeDirectory, "keys"))
    } catch (error) {
      if (!(error instanceof GridError) || error.code !== "HOME_IN_USE" || attempt >= ATTEMPTS) throw error
      await setTimeout(PAUSE_MS)
    }
}

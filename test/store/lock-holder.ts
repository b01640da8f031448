/** Takes the lock of a home and keeps it until it is killed, for tests: DIRECTORY. Says "locked" or the code of the refusal. */
import { GridError } from "#core/errors.ts"
import { lockHome } from "#store/home-lock.ts"

try {
  lockHome(process.argv[2] ?? "")
  process.stdout.write("locked\n")
  setInterval(() => {}, 1_000)
} catch (error) {
  process.stdout.write(`${error instanceof GridError ? error.message : String(error)}\n`)
}

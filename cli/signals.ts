/** SIGINT and SIGTERM end a command in good order; a second one ends it at once. */
import { exitCodes, GridError } from "#core/errors.ts"

export type Ending = {
  /** Aborted, with an INTERRUPTED error as its reason, by the first signal or by `end`. */
  readonly signal: AbortSignal
  /** The signal that came, or null. */
  readonly cameBy: () => NodeJS.Signals | null
  /** Ends the command in good order for another reason. */
  end(why: string): void
  /** Gives the signals back to node. */
  stopWatching(): void
}

/** Takes over SIGINT and SIGTERM of this process until `stopWatching`. */
export function watchSignals(program: Pick<NodeJS.Process, "on" | "off" | "exit">): Ending {
  const controller = new AbortController()
  let cameBy: NodeJS.Signals | null = null
  const onSignal = (name: NodeJS.Signals) => {
    if (cameBy !== null) program.exit(exitCodes.interrupted)
    cameBy = name
    controller.abort(new GridError("INTERRUPTED", name))
  }
  program.on("SIGINT", onSignal)
  program.on("SIGTERM", onSignal)
  return {
    signal: controller.signal,
    cameBy: () => cameBy,
    end: (why) => controller.abort(new GridError("INTERRUPTED", why)),
    stopWatching: () => {
      program.off("SIGINT", onSignal)
      program.off("SIGTERM", onSignal)
    },
  }
}

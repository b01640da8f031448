/** `imagegrid top`: who deploys what, how fast and from whom, and how the grid is, as it goes. */
import { setTimeout as sleep } from "node:timers/promises"
import { systemClock } from "#core/clock.ts"
import { GridError } from "#core/errors.ts"
import { Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import { deployments, gridStatus } from "#nodes/own-server.ts"
import type { CommandContext } from "../command.ts"
import { topFrame, type TopState } from "../top-frame.ts"
import { durationMs } from "../values.ts"

type Options = { readonly once?: boolean; readonly interval?: string }

const INTERVAL_MAX_MS = 3_600_000
const PLAIN_COLUMNS = 100
/** The other screen of the terminal, and no cursor; and back. */
const ENTER = "\u001b[?1049h\u001b[?25l"
const LEAVE = "\u001b[?25h\u001b[?1049l"
const TO_TOP = "\u001b[H"
const ERASE_LINE_END = "\u001b[K"
const ERASE_BELOW = "\u001b[J"

export default async function run(context: CommandContext, _arguments: readonly string[], options: Options): Promise<void> {
  const { output, signal } = context
  const intervalMs = durationMs("--interval", options.interval ?? "2s", INTERVAL_MAX_MS)
  const home = await Home.open(context.home())
  const parts = { home, clock: systemClock, log: silentLog }
  const look = async (): Promise<TopState> => {
    const [all, grid] = await Promise.all([deployments(parts), gridStatus(parts).catch(noPartYet)])
    return { nowMs: systemClock.nowMs(), site: home.site, deployments: all, grid }
  }
  const isLive = !output.json && options.once !== true && process.stdout.isTTY
  if (!isLive) {
    do {
      const state = await look()
      output.event("top", { atMs: state.nowMs, deployments: state.deployments, grid: state.grid })
      for (const line of topFrame(state, { columns: PLAIN_COLUMNS, rows: Number.MAX_SAFE_INTEGER })) output.say(line)
    } while (output.json && options.once !== true && (await pause(intervalMs, signal)))
    return
  }
  const quit = new AbortController()
  using terminal = new DisposableStack()
  terminal.use(fullScreen())
  terminal.use(onQuit(() => quit.abort()))
  const ended = AbortSignal.any([signal, quit.signal])
  for (;;) {
    draw(topFrame(await look(), { columns: process.stdout.columns, rows: process.stdout.rows }))
    if (!(await pause(intervalMs, ended))) break
  }
}

/** False when it was told to stop. */
async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await sleep(ms, undefined, { signal })
    return true
  } catch {
    return false
  }
}

function noPartYet(error: unknown): null {
  if (error instanceof GridError && error.code === "ROLE_WRONG") return null
  throw error
}

function draw(lines: readonly string[]): void {
  process.stdout.write(TO_TOP + lines.map((line) => line + ERASE_LINE_END).join("\r\n") + ERASE_BELOW)
}

function fullScreen(): Disposable {
  process.stdout.write(ENTER)
  return { [Symbol.dispose]: () => void process.stdout.write(LEAVE) }
}

/** Calls back at q or Ctrl-C, which raises no signal while keys come one by one. */
function onQuit(quit: () => void): Disposable {
  const { stdin } = process
  if (!stdin.isTTY) return { [Symbol.dispose]: () => {} }
  const onKeys = (keys: Buffer) => {
    if (keys.includes("q") || keys.includes("\u0003")) quit()
  }
  stdin.setRawMode(true)
  stdin.on("data", onKeys).resume()
  return {
    [Symbol.dispose]: () => {
      stdin.off("data", onKeys).pause()
      stdin.setRawMode(false)
    },
  }
}

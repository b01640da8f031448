/** Feels the pulse of a running server: how late its event loop is, whether its database answers and its home takes files. */
import { unlink } from "node:fs/promises"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { reasonOf } from "#core/errors.ts"
import { writeFileDurably } from "#store/atomic-file.ts"
import type { Vitals } from "./health.ts"

/** The disk is not asked more often than this, however often somebody wants to know. */
const DISK_EVERY_MS = 10_000
/** What is remembered of the event loop goes back so long at most, and half as long at least. */
const LAG_KEPT_MS = 60_000
const LAG_RESOLUTION_MS = 20

type Parts = { readonly nowMs: () => number; readonly probePath: string; readonly askDatabase: () => void }

export class VitalSigns {
  readonly #parts: Parts
  readonly #delays: ReturnType<typeof monitorEventLoopDelay>
  readonly #timer: NodeJS.Timeout
  #lagBeforeMs = 0
  #disk: { readonly askedAtMs: number; readonly fault: Promise<string | null> } | null = null

  constructor(parts: Parts) {
    this.#parts = parts
    this.#delays = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS })
    this.#delays.enable()
    this.#timer = setInterval(() => {
      this.#lagBeforeMs = this.#lagMs()
      this.#delays.reset()
    }, LAG_KEPT_MS / 2)
    this.#timer.unref()
  }

  async read(): Promise<Vitals> {
    return {
      loopLagMs: Math.max(this.#lagBeforeMs, this.#lagMs()),
      databaseFault: this.#databaseFault(),
      diskFault: await this.#diskFault(),
    }
  }

  close(): void {
    clearInterval(this.#timer)
    this.#delays.disable()
  }

  #lagMs(): number {
    return this.#delays.count === 0 ? 0 : Math.max(0, this.#delays.percentile(99) / 1e6 - LAG_RESOLUTION_MS)
  }

  #databaseFault(): string | null {
    try {
      this.#parts.askDatabase()
      return null
    } catch (error) {
      return `does not answer: ${reasonOf(error)}`
    }
  }

  #diskFault(): Promise<string | null> {
    const nowMs = this.#parts.nowMs()
    if (this.#disk === null || nowMs - this.#disk.askedAtMs >= DISK_EVERY_MS) this.#disk = { askedAtMs: nowMs, fault: this.#write() }
    return this.#disk.fault
  }

  async #write(): Promise<string | null> {
    try {
      await writeFileDurably(this.#parts.probePath, "a server writes this to see whether it can\n")
      await unlink(this.#parts.probePath)
      return null
    } catch (error) {
      return `takes no file: ${reasonOf(error)}`
    }
  }
}

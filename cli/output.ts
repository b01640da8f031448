/**
 * All that a command says. For people: lines on stdout, warnings and progress on stderr. With `--json`: one object a line on stdout and
 * nothing else there. Nothing from outside reaches a terminal unescaped.
 */
import { printableJson, printableLine, printableLines } from "./printable.ts"
import { formatProgressLine, LINE_COLUMNS_MAX, SlidingRate, type Progress, type ProgressState, type ProgressUpdate } from "./progress.ts"

/** Where text goes; node's standard streams are of this form. */
export type TextSink = { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number }

export type OutputParts = { readonly stdout: TextSink; readonly stderr: TextSink; readonly nowMs: () => number }
export type OutputOptions = { readonly json: boolean }

const REDRAW_INTERVAL_MS = 100
const EVENT_INTERVAL_MS = 500
const LINE_INTERVAL_MS = 5_000
const ERASE_LINE = "\r\u001b[K"

export class Output {
  readonly #parts: OutputParts
  readonly #json: boolean
  /** What stands in the terminal's last line, to be drawn again below whatever is said meanwhile. */
  #line = ""

  constructor(parts: OutputParts, options: OutputOptions) {
    this.#parts = parts
    this.#json = options.json
  }

  get json(): boolean {
    return this.#json
  }

  /** For programs: one line `{ event, ...fields }` under `--json`, else nothing. */
  event(name: string, fields: Readonly<Record<string, unknown>>): void {
    if (this.#json) this.#parts.stdout.write(`${printableJson(Object.assign({ event: name }, fields, { event: name }))}\n`)
  }

  /** For people: silent under `--json`. Lines after the first are indented. */
  say(text: string): void {
    if (!this.#json) this.#besideProgress(() => this.#parts.stdout.write(`${printableLines(text)}\n`))
  }

  /** For people, in columns as wide as they need to be; silent under `--json`. */
  table(columns: readonly string[], rows: readonly (readonly string[])[]): void {
    if (this.#json) return
    const lines = [columns, ...rows].map((row) => columns.map((_, index) => printableLine(row[index] ?? "")))
    const widths = columns.map((_, index) => Math.max(...lines.map((line) => (line[index] ?? "").length)))
    const text = lines.map((line) =>
      line
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    this.#besideProgress(() => this.#parts.stdout.write(`${text.join("\n")}\n`))
  }

  /** For people, on stderr: what a script that reads the command's result does not want in it. Silent under `--json`. */
  note(text: string): void {
    if (!this.#json) this.#besideProgress(() => this.#parts.stderr.write(`imagegrid: ${printableLines(text)}\n`))
  }

  /** On stderr, with `--json` too. */
  warn(text: string): void {
    this.#besideProgress(() => this.#parts.stderr.write(`imagegrid: warning: ${printableLines(text)}\n`))
  }

  /** The last word of a command that failed. */
  error(failure: { readonly code: string; readonly message: string; readonly exitCode: number; readonly more?: string }): void {
    const { code, message, exitCode, more } = failure
    this.event("error", { code, message, exitCode })
    this.#eraseLine()
    this.#line = ""
    this.#parts.stderr.write(`imagegrid: ${code}: ${printableLines(message)}\n${more === undefined ? "" : `${printableLines(more)}\n`}`)
  }

  /** Begins a phase. Phases of one command follow each other; they don't overlap. */
  progress(phase: string): Progress {
    const rate = new SlidingRate()
    const show = this.#json ? this.#progressEvents() : this.#parts.stderr.isTTY === true ? this.#progressLine() : this.#progressLines()
    let last: ProgressState | null = null
    let ended = false
    return {
      update: (now: ProgressUpdate) => {
        if (ended) return
        const measured = rate.add(now.bytes, this.#parts.nowMs())
        last = {
          phase: printableLine(phase),
          bytes: now.bytes,
          totalBytes: now.totalBytes,
          bytesPerSecond: Math.round(now.bytesPerSecond ?? measured),
        }
        show.state(last)
      },
      end: () => {
        if (ended) return
        ended = true
        if (last !== null) show.end(last)
      },
    }
  }

  #progressEvents(): Shown {
    const due = atMostEvery(EVENT_INTERVAL_MS, this.#parts.nowMs)
    let shown: ProgressState | null = null
    const show = (state: ProgressState) => {
      shown = state
      this.event("progress", state)
    }
    return {
      state: (state) => {
        if (due()) show(state)
      },
      // The last state is never left out.
      end: (state) => {
        if (state !== shown) show(state)
      },
    }
  }

  #progressLine(): Shown {
    const due = atMostEvery(REDRAW_INTERVAL_MS, this.#parts.nowMs)
    return {
      state: (state) => {
        if (!due()) return
        this.#line = formatProgressLine(state, Math.min(LINE_COLUMNS_MAX, (this.#parts.stderr.columns ?? LINE_COLUMNS_MAX) - 1))
        this.#parts.stderr.write(ERASE_LINE + this.#line)
      },
      end: () => {
        this.#eraseLine()
        this.#line = ""
      },
    }
  }

  #progressLines(): Shown {
    const due = atMostEvery(LINE_INTERVAL_MS, this.#parts.nowMs, { first: "later" })
    return {
      state: (state) => {
        if (due()) this.#parts.stderr.write(`imagegrid: ${formatProgressLine(state, Infinity).replaceAll(/ {2,}/g, " ")}\n`)
      },
      end: () => {},
    }
  }

  #besideProgress(write: () => void): void {
    this.#eraseLine()
    write()
    if (this.#line !== "") this.#parts.stderr.write(this.#line)
  }

  #eraseLine(): void {
    if (this.#line !== "") this.#parts.stderr.write(ERASE_LINE)
  }
}

type Shown = { state(state: ProgressState): void; end(state: ProgressState): void }

/** True at the first call, or one interval after the making, and then not before an interval has passed. */
function atMostEvery(
  intervalMs: number,
  nowMs: () => number,
  options: { readonly first: "now" | "later" } = { first: "now" },
): () => boolean {
  let nextMs = options.first === "now" ? -Infinity : nowMs() + intervalMs
  return () => {
    if (nowMs() < nextMs) return false
    nextMs = nowMs() + intervalMs
    return true
  }
}

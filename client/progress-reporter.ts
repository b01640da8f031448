/**
 * Tells a server of the site how a deploy or an update goes, for those who watch. At best: nothing waits for it but its last word, and that not for long; where no
 * server listens nothing comes of it.
 */
import { randomBytes } from "node:crypto"
import { GridError } from "#core/errors.ts"
import { readProgressAnswer, routes, type DeployProgress } from "#core/wire.ts"
import type { Member } from "#member/member.ts"
import type { UpdateEvent } from "./update-events.ts"

const FIRST_PAUSE_MS = 1_000
/** Where nobody listened. */
const PAUSE_UNHEARD_MS = 10_000
const ANSWER_TIMEOUT_MS = 2_000

type Watched = Pick<DeployProgress, "phase" | "bytes" | "totalBytes">

/** Runs `work` and reports on it, from when its image is known; it is to send its events to `emit`, from where they go on to `parts.emit`. */
export async function reportingProgress<Event extends UpdateEvent, Result>(
  parts: { readonly member: Member; readonly host: string; readonly image?: string; readonly emit: (event: Event) => void },
  work: (emit: (event: Event) => void) => Promise<Result>,
): Promise<Result> {
  const reporter = new ProgressReporter(parts.member, parts.host, parts.image ?? null)
  const watch = (event: Event) => {
    reporter.note(event)
    parts.emit(event)
  }
  try {
    const result = await work(watch)
    await reporter.end("left", null)
    return result
  } catch (error) {
    const code = error instanceof GridError ? error.code : "INTERNAL"
    // Who was told to stop after all was good has left.
    await reporter.end(code === "INTERRUPTED" && reporter.isGood ? "left" : "failed", code)
    throw error
  }
}

class ProgressReporter {
  readonly #member: Member
  readonly #host: string
  readonly #deployment = randomBytes(16).toString("hex")
  readonly #startedMs: number
  #image: string | null = null
  #watched: Watched = { phase: "download", bytes: 0, totalBytes: 0 }
  #goodAfterMs: number | null = null
  #timer: NodeJS.Timeout | null = null
  #sending: Promise<void> = Promise.resolve()
  #isEnded = false
  /** Which of the known servers listened last. */
  #server = 0

  constructor(member: Member, host: string, image: string | null) {
    this.#member = member
    this.#host = host
    this.#image = image
    this.#startedMs = member.clock.nowMs()
  }

  get isGood(): boolean {
    return this.#goodAfterMs !== null
  }

  note(event: UpdateEvent): void {
    if (event.event === "resolved" || event.event === "update-planned") {
      const ref = event.event === "resolved" ? `${event.name}:${event.version}` : event.image
      const isOwn = event.event !== "resolved" || event.site === this.#member.home.site
      this.#image = isOwn ? ref : `${event.site}/${ref}`
      this.#watched = { phase: "download", bytes: 0, totalBytes: event.sealedBytes }
      this.#sendAfter(FIRST_PAUSE_MS)
    } else if (event.event === "progress") {
      const { phase, bytes, totalBytes } = event
      this.#watched = { phase, bytes: whole(bytes), totalBytes: whole(totalBytes) }
    } else if (event.event === "good") {
      this.#goodAfterMs = this.#elapsedMs()
      this.#watched = { ...this.#watched, phase: "good", bytes: this.#watched.totalBytes }
      this.#sendAfter(0)
    }
  }

  /** The last word. */
  async end(phase: "left" | "failed", code: string | null): Promise<void> {
    this.#isEnded = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#image === null) return
    await this.#sending
    await this.#send({ ...this.#watched, phase }, code)
  }

  #elapsedMs(): number {
    return Math.max(0, this.#member.clock.nowMs() - this.#startedMs)
  }

  #sendAfter(pauseMs: number): void {
    if (this.#isEnded) return
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#sending = this.#sendNext(this.#sending)
    }, pauseMs)
    this.#timer.unref()
  }

  async #sendNext(before: Promise<void>): Promise<void> {
    await before
    if (this.#isEnded) return
    const nextMs = await this.#send(this.#watched, null)
    if (this.#timer === null) this.#sendAfter(nextMs)
  }

  /** Never rejects. Returns when to say more. */
  async #send(watched: Watched, code: string | null): Promise<number> {
    const { api, swarm } = this.#member
    const { sentBytes, fromServersBytes, fromClientsBytes } = swarm.traffic
    const body: DeployProgress = {
      deployment: this.#deployment,
      image: this.#image ?? "",
      host: this.#host,
      ...watched,
      elapsedMs: this.#elapsedMs(),
      goodAfterMs: this.#goodAfterMs,
      fromServersBytes,
      fromClientsBytes,
      sentBytes,
      peers: swarm.peerCount,
      ...(watched.phase === "failed" && code !== null && { code }),
    }
    const servers = this.#member.apiAddresses()
    const server = servers[this.#server % Math.max(1, servers.length)]
    if (server === undefined) return PAUSE_UNHEARD_MS
    try {
      const request = { method: "POST", path: routes.progress, body, timeoutMs: ANSWER_TIMEOUT_MS } as const
      return (await api.json(server, request, readProgressAnswer)).nextInMs
    } catch {
      // The next one is tried at the next time.
      this.#server += 1
      return servers.length > 1 && this.#server % servers.length !== 0 ? FIRST_PAUSE_MS : PAUSE_UNHEARD_MS
    }
  }
}

function whole(bytes: number): number {
  return Math.max(0, Math.round(bytes))
}

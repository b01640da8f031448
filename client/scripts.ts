/**
 * Runs an image's scripts where the client allows it: `before` anything is done to a target, and `after` it is good.
 *
 * A script gets no input, little environment and a limited time; it is ended with all that it started. What it says is passed on line by line.
 */
import { spawn } from "node:child_process"
import { access, rm } from "node:fs/promises"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import type { Layer, Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import type { LayerPlace } from "#store/layer-store.ts"
import { openLayers, type DownloadParts, type OpenableLayer } from "./layer-download.ts"
import { unpackAttachment } from "./overrides.ts"

export type ScriptName = "before" | "after"
export type ScriptEvent =
  /** The image has scripts, and this client did not allow them. */
  | { readonly event: "scripts-left-out"; readonly image: string }
  | { readonly event: "script-started"; readonly script: ScriptName }
  | { readonly event: "script-output"; readonly script: ScriptName; readonly line: string }
  | { readonly event: "script-ended"; readonly script: ScriptName; readonly tookMs: number }

export type ScriptParts = {
  /** That holds the scripts under their names; one that it has not is not run. */
  readonly directory: string
  readonly timeoutMs: number
  readonly signal: AbortSignal
  readonly nowMs: () => number
  readonly emit: (event: ScriptEvent) => void
  /** What it is told, as IMAGEGRID_TARGET and so on. */
  readonly about: { readonly target: string; readonly image: string; readonly version: string; readonly action: "deploy" | "update" }
}

const LINES_MAX = 10_000
const LINE_LENGTH_MAX = 1_000
const LAST_WORDS_MS = 1_000
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

export function scriptLayers({ layers }: Pick<Manifest, "layers">): Layer[] {
  return layers.filter(({ kind }) => kind === "scripts")
}

type Taken = {
  readonly layers: readonly OpenableLayer[]
  /** @throws {GridError} SCRIPT_FAILED, INTERRUPTED */
  readonly run: (script: ScriptName) => Promise<void>
}

/** Downloads the scripts of an image where it has some and they may be run. */
export async function takeScripts(
  parts: DownloadParts,
  about: {
    readonly manifest: Manifest
    readonly identityOf: (layer: Layer) => string
    readonly options: { readonly scripts: { readonly timeoutMs: number } | null }
    readonly action: ScriptParts["about"]["action"]
    readonly target: string
  },
  store: LayerPlace,
): Promise<Taken> {
  const { member, signal, emit } = parts
  const { manifest, identityOf, options, action, target } = about
  const wanted = scriptLayers(manifest)
  const image = `${manifest.site}/${manifest.name}`
  if (wanted.length > 0 && options.scripts === null) emit({ event: "scripts-left-out", image })
  const { scripts } = options
  if (wanted.length === 0 || scripts === null) return { layers: [], run: async () => {} }
  const layers = await openLayers(parts, { manifest, layers: wanted, identityOf }, store)
  for (const { session } of layers) await session.whenComplete(signal)
  const directory = member.home.path("scripts")
  const nowMs = () => member.clock.nowMs()
  return {
    layers,
    async run(script) {
      for (const layer of layers) await unpackAttachment(layer, directory, { devices: "refuse", signal })
      try {
        await runScript(script, { directory, emit, nowMs, signal, ...scripts, about: { target, image, version: manifest.version, action } })
      } finally {
        await rm(directory, { recursive: true, force: true })
      }
    },
  }
}

/** @throws {GridError} SCRIPT_FAILED, INTERRUPTED */
export async function runScript(script: ScriptName, parts: ScriptParts): Promise<void> {
  const { about, emit, nowMs, signal, timeoutMs } = parts
  const path = join(parts.directory, script)
  if (!(await exists(path))) return
  signal.throwIfAborted()
  emit({ event: "script-started", script })
  const startedMs = nowMs()
  const child = spawn(path, [], {
    cwd: "/",
    // A group of its own, so that it can be ended with its children.
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH,
      LANG: "C.UTF-8",
      IMAGEGRID_TARGET: about.target,
      IMAGEGRID_IMAGE: about.image,
      IMAGEGRID_VERSION: about.version,
      IMAGEGRID_ACTION: about.action,
    },
  })
  let lines = 0
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on("line", (line) => {
      lines += 1
      if (lines <= LINES_MAX) emit({ event: "script-output", script, line: line.slice(0, LINE_LENGTH_MAX) })
    })
  const end = () => {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, "SIGKILL")
    } catch {
      // It ended by itself just now.
    }
  }
  let late = false
  const timer = setTimeout(() => {
    late = true
    end()
  }, timeoutMs)
  signal.addEventListener("abort", end, { once: true })
  try {
    const closed = new Promise((resolve) => child.once("close", resolve))
    const outcome = await new Promise<{ readonly code: number | null; readonly by: string | null; readonly error: Error | null }>(
      (resolve) => {
        child.once("error", (error) => resolve({ code: null, by: null, error }))
        child.once("exit", (code, by) => resolve({ code, by, error: null }))
      },
    )
    end()
    // What it said last is still in the pipes; what left its group may keep them open.
    if (outcome.error === null) await Promise.race([closed, sleep(LAST_WORDS_MS, undefined, { ref: false })])
    const what = `'${script}' of ${about.image}`
    if (signal.aborted) throw new GridError("INTERRUPTED", `${what} was ended; the same command begins it anew`)
    if (outcome.error !== null)
      throw new GridError("SCRIPT_FAILED", `${what} can't be started (${outcome.error.message}); it begins with a line such as #!/bin/sh`)
    if (late) throw new GridError("SCRIPT_FAILED", `${what} was ended after ${timeoutMs / 1000} s; give it longer with --script-timeout`)
    if (outcome.code !== 0)
      throw new GridError("SCRIPT_FAILED", `${what} ended with ${outcome.by ?? `exit code ${outcome.code}`}; its output says why`)
    emit({ event: "script-ended", script, tookMs: Math.max(0, nowMs() - startedMs) })
  } finally {
    clearTimeout(timer)
    signal.removeEventListener("abort", end)
    end()
    child.stdout.destroy()
    child.stderr.destroy()
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

/** The small trees that are signed with an image beside its own: overrides, a boot payload, scripts. New ones, and those of the version it is made from. */
import { copyFile, chmod, mkdir, rm, stat } from "node:fs/promises"
import { join } from "node:path"
import { ATTACHMENT_BYTES_MAX, isAttachment, OVERRIDES_MAX, type Layer, type Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatAppliesTo, overridesInOrder, type AppliesTo } from "#core/overrides.ts"
import { captureTree } from "#image/capture.ts"
import type { Entry } from "#image/entry.ts"
import { LayerSealer, ZSTD_LEVELS, type SealedLayer } from "#image/layer-sealer.ts"
import { openLayer } from "#image/open-layer.ts"
import { overlay } from "#image/overlay.ts"
import { TarReader } from "#image/tar-stream.ts"
import { heldContent } from "./held-content.ts"
import { described, type Parent, type SealVersionParts } from "./seal-version.ts"

/** As they are named when an image is published; directories and files of this machine. */
export type AttachmentSources = {
  readonly overrides: readonly { readonly appliesTo: AppliesTo; readonly directory: string }[]
  readonly boot: string | null
  readonly scripts: { readonly before: string | null; readonly after: string | null }
}
export const noAttachments: AttachmentSources = { overrides: [], boot: null, scripts: { before: null, after: null } }

/** The names of scripts in their layer. */
export const SCRIPT_NAMES = ["before", "after"] as const

type Sealing = {
  readonly workDirectory: string
  readonly recipient: string
  /** Of the image's own tree. */
  readonly entries: Iterable<Entry>
  /** What it is made from, and takes attachments over from; null where it takes none. */
  readonly parent: Parent | null
}
type Attachment = Pick<Layer, "kind" | "appliesTo">
type SealedAttachment = { readonly attachment: Attachment; readonly sealed: SealedLayer }

/** @throws {GridError} OVERRIDE_CONFLICT, USAGE, SOURCE_MISSING, LAYER_MISSING, CAPTURE_FAILED, DISK_FULL */
export async function sealAttachments(
  parts: SealVersionParts,
  sources: AttachmentSources,
  sealing: Sealing,
): Promise<{ readonly sealed: readonly SealedLayer[]; readonly layers: readonly Layer[] }> {
  const made: SealedAttachment[] = []
  const scripts = await gatherScripts(sources.scripts, join(sealing.workDirectory, "scripts"))
  const directories: { readonly attachment: Attachment; readonly directory: string }[] = [
    ...sources.overrides.map(({ appliesTo, directory }) => ({ attachment: { kind: "override" as const, appliesTo }, directory })),
    ...(sources.boot === null ? [] : [{ attachment: { kind: "boot" as const }, directory: sources.boot }]),
    ...(scripts === null ? [] : [{ attachment: { kind: "scripts" as const }, directory: scripts }]),
  ]
  for (const { attachment, directory } of directories)
    made.push({
      attachment,
      sealed: await seal(sealing, attachment, async (onEntry, sealer) => {
        await captureTree({
          directory,
          onEntry,
          onArchive: (bytes) => sealer.write(bytes),
          pace: () => sealer.pace(),
          signal: parts.signal,
        })
      }),
    })
  const fresh = new Set(made.map(({ attachment }) => keyOf(attachment)))
  for (const layer of sealing.parent === null ? [] : attachmentsOf(sealing.parent.manifest)) {
    const attachment: Attachment = { kind: layer.kind, ...(layer.appliesTo !== undefined && { appliesTo: layer.appliesTo }) }
    if (!fresh.has(keyOf(attachment))) made.push({ attachment, sealed: await sealAgain(parts, sealing, attachment, layer) })
  }
  const layers = made.map(({ attachment: { kind, appliesTo }, sealed }): Layer => {
    const layer = described(kind, sealed)
    return appliesTo === undefined ? layer : Object.assign(layer, { appliesTo })
  })
  const forSome = layers.flatMap((layer) => (layer.appliesTo === undefined ? [] : [{ appliesTo: layer.appliesTo, layer }]))
  const inOrder = [
    ...overridesInOrder(forSome, ({ appliesTo }) => appliesTo).map(({ layer }) => layer),
    ...layers.filter(({ appliesTo }) => appliesTo === undefined),
  ]
  const overrides = inOrder.filter(({ kind }) => kind === "override").length
  if (overrides > OVERRIDES_MAX)
    throw new GridError(
      "USAGE",
      `the image would have ${overrides} overrides, ${OVERRIDES_MAX} are taken; publish it with --no-inherit and fewer`,
    )
  return { sealed: made.map(({ sealed }) => sealed), layers: inOrder }
}

export function attachmentsOf({ layers }: Pick<Manifest, "layers">): Layer[] {
  return layers.filter(({ kind }) => isAttachment(kind))
}

function keyOf({ kind, appliesTo }: Attachment): string {
  return appliesTo === undefined ? kind : formatAppliesTo(appliesTo)
}

/** What `write` gives to the sealer, checked against the image's own tree. */
async function seal(
  { workDirectory, recipient, entries }: Sealing,
  attachment: Attachment,
  write: (onEntry: (entry: Entry) => void, sealer: LayerSealer) => Promise<void>,
): Promise<SealedLayer> {
  const sealer = await LayerSealer.create({ workDirectory, recipient, pieceBytes: null, level: ZSTD_LEVELS.difference })
  try {
    const own: Entry[] = []
    await write((entry) => own.push(entry), sealer)
    if (sealer.contentBytes > ATTACHMENT_BYTES_MAX)
      throw new GridError(
        "USAGE",
        `${keyOf(attachment)} is ${sealer.contentBytes} bytes, and ${ATTACHMENT_BYTES_MAX} are taken; put what is large into the image itself`,
      )
    if (attachment.appliesTo !== undefined) overlay(entries, own)
    return await sealer.finish()
  } catch (error) {
    await sealer.abort()
    if (error instanceof GridError && error.code === "OVERRIDE_CONFLICT")
      throw new GridError("OVERRIDE_CONFLICT", `${keyOf(attachment)}: ${error.detail}`, { cause: error })
    throw error
  }
}

/** Each version has an identity of its own: what it takes over is sealed to that. */
async function sealAgain(parts: SealVersionParts, sealing: Sealing, attachment: Attachment, layer: Layer): Promise<SealedLayer> {
  const identity = sealing.parent?.identities.at(-1)?.identity ?? ""
  return seal(sealing, attachment, async (onEntry, sealer) => {
    const reader = new TarReader({ entry: onEntry })
    for await (const content of openLayer(await heldContent(parts.layers, layer), { identity, layer })) {
      parts.signal.throwIfAborted()
      reader.push(content)
      sealer.write(content)
      await sealer.pace()
    }
    reader.end()
  })
}

/** Into a directory, so that they are a tree as the others are; null where there is none. */
async function gatherScripts(scripts: AttachmentSources["scripts"], directory: string): Promise<string | null> {
  if (SCRIPT_NAMES.every((name) => scripts[name] === null)) return null
  await rm(directory, { recursive: true, force: true })
  await mkdir(directory, { mode: 0o755 })
  for (const name of SCRIPT_NAMES) {
    const path = scripts[name]
    if (path === null) continue
    const found = await stat(path).catch((cause: unknown) => {
      throw new GridError("SOURCE_MISSING", `expected a script at ${path}`, { cause })
    })
    if (!found.isFile()) throw new GridError("SOURCE_MISSING", `expected a script at ${path}, found something else`)
    await copyFile(path, join(directory, name))
    await chmod(join(directory, name), 0o755)
  }
  return directory
}

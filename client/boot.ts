/** Fetches what a machine is booted with: the payload that is signed with an image. */
import { mkdir } from "node:fs/promises"
import { resolve } from "node:path"
import { refOf } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, type ImageQuery } from "#core/identifiers.ts"
import { inspectTarget } from "#image/target.ts"
import { findImage, requireFresh } from "#member/image-sources.ts"
import { requireCurrentPublisher } from "#trust/catalog.ts"
import { identitiesOf, openLayers, whenAllComplete, type DownloadParts } from "./layer-download.ts"
import { unpackAttachment } from "./overrides.ts"

export type BootPayload = { readonly image: string; readonly directory: string; readonly files: number; readonly bytes: number }

/** @throws {GridError} IMAGE_UNKNOWN, GRANT_MISSING, SOURCE_MISSING where the image has none, TARGET_NOT_EMPTY, and what a deploy refuses */
export async function fetchBootPayload(parts: DownloadParts, query: ImageQuery, to: string): Promise<BootPayload> {
  const { member, signal } = parts
  const image = findImage(member.images, query)
  const { manifest } = image
  requireCurrentPublisher(requireFresh(image.catalog, member.clock.nowMs()), refOf(manifest), member.clock.nowMs())
  const name = formatImageRef(refOf(manifest))
  const layers = manifest.layers.filter(({ kind }) => kind === "boot")
  if (layers.length === 0) throw new GridError("SOURCE_MISSING", `${name} has no boot payload; publish it with --boot DIR`)
  const directory = resolve(to)
  if ((await inspectTarget(directory)).kind === "occupied")
    throw new GridError("TARGET_NOT_EMPTY", `${directory}; name an empty or new directory`)
  const opened = await openLayers(parts, { manifest, layers, identityOf: identitiesOf(image, member) }, member.layers)
  await whenAllComplete(parts, opened, 0)
  await mkdir(directory, { recursive: true })
  let [files, bytes] = [0, 0]
  for (const layer of opened)
    for (const entry of await unpackAttachment(layer, directory, { devices: "refuse", signal }))
      if (entry.kind === "file") [files, bytes] = [files + 1, bytes + entry.size]
  for (const { session } of opened) await session.close()
  return { image: name, directory, files, bytes }
}

/** `imagegrid publish DIRECTORY NAME:VERSION`: seals a directory tree and signs it as a new image version. */
import { randomBytes } from "node:crypto"
import { systemClock } from "#core/clock.ts"
import { layerOf, type Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, imageRef, type ImageRef } from "#core/identifiers.ts"
import { formatAppliesTo, parseAppliesTo } from "#core/overrides.ts"
import { PIECE_BYTES_MAX, PIECE_BYTES_MIN } from "#core/torrent.ts"
import { Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import { DEFAULT_GROUP } from "#nodes/create-site.ts"
import { publishImage, waitForCopies, type PublishOptions } from "#nodes/publish.ts"
import { formatBytes } from "../progress.ts"
import { byteCount, granteeNames, wholeNumber } from "../values.ts"
import { countBuffersWithTheHeap } from "../memory.ts"
import { openKeyRing, type KeyOptions } from "../keys.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"
import type { CommandContext } from "../command.ts"

type Options = KeyOptions &
  OutOptions & { readonly group?: readonly string[]; readonly piecesOf?: string; readonly waitCopies?: string } & VersionOptions &
  AttachmentOptions

type VersionOptions = {
  readonly from?: string
  readonly full?: string
  readonly reread?: boolean
  /** False when --no-keep-files was given. */
  readonly keepFiles?: boolean
}

type AttachmentOptions = {
  readonly override?: readonly string[]
  readonly boot?: string
  readonly before?: string
  readonly after?: string
  readonly exclude?: readonly string[]
  /** False when --no-inherit was given. */
  readonly inherit?: boolean
}

export default async function run(
  { output, home, signal }: CommandContext,
  [directory, image]: readonly string[],
  options: Options,
): Promise<void> {
  if (options.from !== undefined) countBuffersWithTheHeap()
  const ref = imageRef(image ?? "")
  const groups = options.group === undefined ? [DEFAULT_GROUP] : granteeNames(options.group)
  if (groups.length === 0) throw new GridError("USAGE", "--group names no group; name those that may open the image, or leave it out")
  if (groups.every((name) => name.includes("/")))
    throw new GridError("USAGE", "--group names no group of this site; without one nobody here could grant the image to others later")
  const pieceBytes = options.piecesOf === undefined ? undefined : pieceLength(options.piecesOf)
  const copies = options.waitCopies === undefined ? null : wholeNumber("--wait-copies", options.waitCopies, { min: 1, max: 1_000 })
  const versions = versionOptions(ref, options)
  const opened = await Home.open(home())
  const progress = output.progress("sealing")
  const parts = {
    home: opened,
    clock: systemClock,
    log: silentLog,
    random: randomBytes,
    keys: await openKeyRing(opened, options),
    signal,
    onProgress: ({ contentBytes }: { readonly contentBytes: number }) => progress.update({ bytes: contentBytes, totalBytes: null }),
  }
  const startedMs = systemClock.nowMs()
  const made = await publishImage(parts, {
    directory: directory ?? "",
    ref,
    groups,
    ...versions,
    ...attachmentOptions(options),
    ...(pieceBytes !== undefined && { pieceBytes }),
  })
  progress.end()
  const { manifest, read, delta } = made
  const full = layerOf(manifest, "full")
  const tookMs = systemClock.nowMs() - startedMs
  const name = formatImageRef(ref)
  const { retired } = made
  if (made.applied)
    output.event("published", {
      image: name,
      groups,
      retired,
      entries: manifest.entryCount,
      ...full,
      read,
      delta: delta === null ? null : { ...delta, ...deltaOf(manifest) },
      tookMs,
    })
  const size =
    delta === null || options.from === undefined
      ? `${formatBytes(full.contentBytes)} of tar sealed into ${formatBytes(full.sealedBytes)}`
      : `read ${read.files} files of ${formatBytes(read.bytes)}; ${delta.contents} new contents beyond ${options.from}, ${delta.patches} of them as patches, ` +
        `sealed into ${formatBytes(deltaOf(manifest).sealedBytes)}${full.version === undefined ? `, and all of it into ${formatBytes(full.sealedBytes)}` : ""}`
  const done =
    `Published ${name} for ${groups.length === 1 ? "group" : "groups"} ${groups.join(", ")}: ${manifest.entryCount} entries, ` +
    `${size}, in ${(tookMs / 1000).toFixed(1)} s.${retired.length === 0 ? "" : ` Out of use from now on, by the site's rules: ${retired.join(", ")}.`}`
  if (!(await tellChange(output, made, { done, what: `publish-${name.replaceAll(/[/:]/g, "-")}` }, options))) return
  if (copies === null) return
  const waiting = output.progress("copying")
  const holders = await waitForCopies(parts, manifest, copies, (count) =>
    waiting.update({ bytes: count * full.sealedBytes, totalBytes: copies * full.sealedBytes }),
  )
  waiting.end()
  output.event("copies", { image: formatImageRef(ref), servers: holders.map(({ memberId }) => memberId), holders })
  const where = holders.map(({ memberId, site }) => (site === opened.site ? memberId : `${memberId} of ${site}`))
  output.say(`${holders.length} server${holders.length === 1 ? " has" : "s have"} shown to hold it: ${where.join(", ")}`)
}

/** The layer that leads to this version from the one before. */
function deltaOf(manifest: Manifest): { readonly sealedBytes: number } {
  return manifest.layers.find(({ kind, version }) => kind === "delta" && version === undefined) ?? { sealedBytes: 0 }
}

function versionOptions(ref: ImageRef, { from, full = "auto", reread, keepFiles }: VersionOptions): Partial<PublishOptions> {
  if (full !== "auto" && full !== "always" && full !== "never")
    throw new GridError("USAGE", `--full is auto, always or never, not ${JSON.stringify(full.slice(0, 40))}`)
  const common = { full, keepFiles: keepFiles !== false, reread: reread === true } as const
  if (from === undefined) return common
  const parent = imageRef(from)
  if (parent.name !== ref.name || parent.version === ref.version)
    throw new GridError("USAGE", `--from names an earlier version of the same image, such as ${ref.name}:VERSION`)
  return { ...common, from: parent }
}

function attachmentOptions({ override = [], boot, before, after, exclude = [], inherit }: AttachmentOptions): Partial<PublishOptions> {
  const overrides = override.map((text) => {
    const [words = "", ...directory] = text.split("=")
    if (directory.length === 0)
      throw new GridError(
        "USAGE",
        `--override is FOR=DIRECTORY, such as group:web=/srv/web or 'host:node0*=/srv/nodes', not ${JSON.stringify(text.slice(0, 80))}`,
      )
    return { appliesTo: parseAppliesTo(words), directory: directory.join("=") }
  })
  const twice = overrides.map(({ appliesTo }) => formatAppliesTo(appliesTo)).find((one, at, all) => all.indexOf(one) !== at)
  if (twice !== undefined) throw new GridError("USAGE", `--override names ${twice} twice`)
  return {
    attachments: { overrides, boot: boot ?? null, scripts: { before: before ?? null, after: after ?? null } },
    exclude,
    inherit: inherit !== false,
  }
}

function pieceLength(text: string): number {
  const bytes = byteCount("--pieces-of", text)
  if (bytes < PIECE_BYTES_MIN || bytes > PIECE_BYTES_MAX || (bytes & (bytes - 1)) !== 0)
    throw new GridError(
      "USAGE",
      `--pieces-of is a power of two from ${formatBytes(PIECE_BYTES_MIN)} to ${formatBytes(PIECE_BYTES_MAX)}, not ${bytes} bytes`,
    )
  return bytes
}
